"""Bad input, as a user gives it: one line that says what is wrong and what to do, its exit code, and nothing lost."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from azr.console import can_redraw
from azr.train.start import start_run
from azr.train.training import Training
from nursery.__main__ import foreign
from tests.commands import SHORT, command, fingerprint
from tests.domains.test_plugins import PLUG_IN, install
from tests.runs import only_run

CHECKPOINT = "checkpoints/000002"
NO_RUN = "no config.toml there, so it is not a run; name the folder that azr train made"
CHANGED = "; it was changed, restore it"
BEFORE = "to go on from the checkpoint before, 000001"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """A folder with a finished run and with files that are not what they should be; every command here runs in it."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("TINKER_API_KEY", raising=False)
        code, _, err = command("train", "primes", *SHORT.split())
        assert code == 0, err
        only_run(folder / "runs").rename(folder / "run")
        (folder / "runs").rmdir()
        for name, content in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "empty").mkdir()
        yield folder


FILES = {
    "file": b"hello\n",
    "bad.toml": b"steps = ",
    "latin.toml": b"# caf\xe9\n",
    "scalar.toml": b"domain = 3\n",
    "no-domain.toml": b"steps = 3\n",
    "bad.jsonl": b"{\n",
    "list.jsonl": b"[]\n",
    "binary.jsonl": b"\xff\xfe\n",
    "odd.jsonl": b'{"kind": "deduction", "data": 3}\n',
    "kind.jsonl": b'{"kind": "x", "data": {}}\n',
    "not-a-sweep/sweep.json": b"{",
    "not-results/results.json": b"{",
    "b\udce9.toml": b"steps = ",  # a name that is not UTF-8
}


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def precede(path: Path, line: str) -> None:
    path.write_text(line + "\n" + path.read_text())


SPOILT = {  # a copy of the run by its name, and what is wrong with it
    "half-weights": lambda run: halve(run / CHECKPOINT / "model" / "model.safetensors"),
    "no-weights": lambda run: remove(run / CHECKPOINT / "model" / "model.safetensors"),
    "no-model-folder": lambda run: remove(run / CHECKPOINT / "model"),
    "half-optimizer": lambda run: halve(run / CHECKPOINT / "optimizer.pt"),
    "no-optimizer": lambda run: remove(run / CHECKPOINT / "optimizer.pt"),
    "half-state": lambda run: halve(run / CHECKPOINT / "state.json"),
    "list-state": lambda run: (run / CHECKPOINT / "state.json").write_text("[]"),
    "empty-state": lambda run: (run / CHECKPOINT / "state.json").write_text("{}"),
    "odd-state": lambda run: (run / CHECKPOINT / "state.json").write_text('{"step": "x", "lengths": {}}'),
    "half-buffer": lambda run: (run / CHECKPOINT / "buffer.jsonl").write_text("{\n"),
    "list-buffer": lambda run: (run / CHECKPOINT / "buffer.jsonl").write_text("[]\n"),
    "odd-buffer": lambda run: (run / CHECKPOINT / "buffer.jsonl").write_text('{"a": 1}\n'),
    "no-buffer": lambda run: remove(run / CHECKPOINT / "buffer.jsonl"),
    "no-checkpoints": lambda run: remove(run / "checkpoints"),
    "empty-checkpoints": lambda run: [(path / "state.json").unlink() for path in (run / "checkpoints").iterdir()],
    "bad-config": lambda run: (run / "config.toml").write_text("steps = "),
    "binary-config": lambda run: (run / "config.toml").write_bytes(b"\xff\xfe"),
    "odd-config": lambda run: precede(run / "config.toml", "nonsense = 1"),
    "folder-config": lambda run: make_folder(run / "config.toml"),
    "no-events": lambda run: remove(run / "events.jsonl"),
    "half-events": lambda run: halve(run / "events.jsonl"),
    "folder-events": lambda run: make_folder(run / "events.jsonl"),
    "half-metrics": lambda run: halve(run / "metrics.jsonl"),
    "no-metrics": lambda run: remove(run / "metrics.jsonl"),
    "folder-metrics": lambda run: make_folder(run / "metrics.jsonl"),
    "bad-parent": lambda run: (run / "parent.json").write_text("{"),
    "list-parent": lambda run: (run / "parent.json").write_text("[]"),
    "no-model": lambda run: remove(run / "model"),
    "half-model": lambda run: halve(run / "model" / "model.safetensors"),
    "bad-model": lambda run: (run / "model" / "config.json").write_text("{"),
    "bad-tokenizer": lambda run: (run / "model" / "tokenizer.json").write_text("{"),
}

TABLE = [
    # The command line itself
    ("trian", "No such command 'trian'. Did you mean 'train'?; see azr --help"),
    ("--nonsense", "No such option: --nonsense"),
    ("train", "azr: error: azr train takes one preset or file, but none was named; try: azr train demo"),
    ("train demo other", "2 were named: demo, other"),
    ("train demo --stepz 3", "No such option: --stepz (Possible options: --help, --seed, --steps);"),
    ("train demo --steps", "Option '--steps' requires an argument"),
    ("train demo --steps many", "Invalid value for '--steps'"),
    ("config", "azr config takes one preset or file, but none was named; try: azr config demo"),
    ("config demo --config x.toml", "2 were named: demo, x.toml"),
    ("plan demo other", "azr plan takes one preset or file, but 2 were named: demo, other"),
    ("explain", "Missing argument 'RUN'; see azr explain --help"),
    ("explain run", "Missing argument 'ROLLOUT'"),
    ("play", "Missing argument 'MODEL"),
    ("chat", "Missing argument 'MODEL"),
    ("watch", "Missing argument 'RUN'"),
    ("export", "Missing argument 'RUN'"),
    ("report", "Missing argument 'RUN...'"),
    ("serve", "Missing argument 'MODEL'"),
    ("completion", "Missing argument 'SHELL'"),
    ("runs run run", "Got unexpected extra argument(s) (run)"),
    ("presets x", "Got unexpected extra argument(s) (x)"),
    ("sandbox nonsense", "No such command 'nonsense'; see azr sandbox --help"),
    ("completion tcsh", "tcsh"),
    ("domains x", "domain.name = x: no such domain; registered are primes, python"),
    # Presets and files
    ("train demp", "demp: no such preset or file; did you mean demo?"),
    ("train ''", "no such preset or file; the presets are climb, demo,"),
    ("train empty", "empty: no such preset or file"),
    ("config --config none.toml", "none.toml: no such preset or file"),
    ("config bad.toml", "bad.toml: not valid TOML"),
    ("config b\udce9.toml", "not valid TOML"),
    ("config latin.toml", "latin.toml: not valid TOML: 'utf-8' codec can't decode byte"),
    ("config no-domain.toml", "no-domain.toml: domain.name is missing; set it, for example domain.name=python"),
    ("config scalar.toml", "scalar.toml: domain.name is missing"),
    # Keys and values
    ("train demo domain=3", "demo: domain.name is missing; set it"),
    ("train demo domain.name=pythn", "domain.name = pythn: no such domain; did you mean python?"),
    ("train demo domain.name=3", "demo: domain.name is missing; set it"),
    ("train demo domain.style=x", "domain.style = 'x': input should be 'r1', 'chat' or 'compact'"),
    ("train demo domain.kinds=deduction", "expected a list, such as 'domain.kinds=[\"deduction\"]'"),
    (
        "train demo 'domain.kinds=[\"x\"]'",
        "'x' is not a kind of the python domain, which has deduction, abduction, induction, error",
    ),
    ("train primes domain.max_prime=1", "domain.max_prime = 1: input should be greater than or equal to 2"),
    ("config demo domain.name=primes domain.induction_inputs=3", "demo: unknown key domain.induction_inputs"),
    ("train demo learner.rl=1", "demo: unknown key learner.rl; did you mean lr?"),
    ("train demo =3", "=3: expected the form key.sub=value"),
    ("train demo .=3", ".=3: expected the form key.sub=value"),
    ("train demo learner..lr=3", "learner..lr=3: expected the form key.sub=value"),
    ("train demo steps.a=1", "steps.a=1: steps is a value, not a section"),
    ("train demo learner=3", "learner = 3: this is a section, not a value; its keys are lr,"),
    ("train demo --steps 0", "demo: steps = 0: input should be greater than 0"),
    ("train demo --steps -1", "demo: steps = -1: input should be greater than 0"),
    ("train demo steps=1.5", "demo: steps = 1.5: input should be a valid integer"),
    ("train demo steps=[1]", "demo: steps = [1]: input should be a valid integer"),
    ("train demo --seed -1", "demo: seed = -1: input should be greater than or equal to 0"),
    ("train demo threads=0", "demo: threads = 0: input should be greater than 0"),
    ("train demo learner.lr=-1", "learner.lr = -1: input should be greater than 0"),
    ("train demo learner.lr=nan", "learner.lr = nan: input should be a finite number"),
    ("train demo learner.optimizer=x", "learner.optimizer = 'x': input should be 'adamw',"),
    ("train demo learner.processes=0", "learner.processes = 0: must be a whole number above 0, or auto"),
    ("train demo learner.sharding=x", "learner.sharding = 'x': input should be 'auto', 'replicated' or 'sharded'"),
    ("train demo algorithm.name=gpro", "algorithm.name = 'gpro': no such algorithm; did you mean grpo?"),
    ("train demo selfplay.batch_size=0", "selfplay.batch_size = 0: input should be greater than 0"),
    ("train demo generation.temperature=0", "generation.temperature = 0: input should be greater than 0"),
    ("train demo generation.top_p=2", "generation.top_p = 2: input should be less than or equal to 1"),
    ("train demo generation.urls=ftp://a", "each address in urls has the form http://host:port"),
    ("train demo checkpoint.keep=0", "checkpoint.keep = 0: input should be greater than 0"),
    ("train demo evaluation.tasks=-1", "evaluation.tasks = -1: input should be greater than or equal to 0"),
    ("train demo trackers.use=x", "input should be 'tensorboard', 'wandb' or 'trackio'"),
    ("train demo sandbox.backend=x", "no such backend; registered are auto, docker, local, remote, seatbelt, unsafe"),
    ("train demo sandbox.backend=unsafe", "accept the risk with sandbox.allow_unsafe = true"),
    ("train demo sandbox.backend=remote", "backend = remote needs url"),
    ("train demo sandbox.backend=remote sandbox.url=x", "each address in url has the form http://host:port"),
    ("train demo sandbox.workers=0", "sandbox.workers = 0: input should be greater than 0"),
    # Models and devices
    ("train demo --model ''", "cannot be loaded: no such folder, and not a valid name on the hub"),
    (
        "train demo --model no/such/folder",
        "model no/such/folder: cannot be loaded: no such folder, and not a valid name on the hub",
    ),
    ("train demo --model empty", "model empty: cannot be loaded: the folder has no config.json"),
    (
        "train demo --model half-model/model",
        "model half-model/model: cannot be loaded: Error while deserializing header",
    ),
    ("train demo --model bad-model/model", "bad-model/model/config.json' is not a valid JSON file"),
    ("train demo --model bad-tokenizer/model", "model bad-tokenizer/model: cannot be loaded"),
    ("train demo --model m@http://localhost:1/v1", "cannot be trained; set selfplay.learn=false"),
    ("train demo --model m@http://localhost:1/v1 selfplay.learn=false", "no server at http://localhost:1/v1"),
    ("train demo --model tinker:x", "TINKER_API_KEY"),
    ("train demo model.dtype=int3", "model.dtype = 'int3': input should be 'auto',"),
    (
        "train demo model.quantization=4bit",
        "model.quantization freezes the weights, so it needs model.lora.rank above 0",
    ),
    ("train demo generation.max_prompt_tokens=100000", "model nursery holds 1024 tokens"),
    ("train primes model.device=gpu", "primes: model.device = 'gpu': use auto, cpu, mps, cuda or cuda:N"),
    ("train primes model.device=meta", "primes: model.device = 'meta': use auto, cpu, mps, cuda or cuda:N"),
    ("train primes model.device=mps", "model.device = mps: this torch finds no MPS device here; set"),
    ("train primes model.device=cuda:99", "model.device = cuda:99: "),
    ("play nursery model.device=mps --once", "no MPS device here; set model.device=auto, or cpu"),
    ("eval nursery --bench primes model.device=mps --out x", "no MPS device here; set model.device=auto, or cpu"),
    # A start that is refused
    ("train primes output_dir=file", "file: file exists; choose another output_dir, or make it writable"),
    ("train primes output_dir=file/x", "file/x: not a directory; choose another output_dir"),
    (
        "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=none.jsonl",
        "none.jsonl: not a file of seed tasks: [Errno 2] No such file",
    ),
    ("train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=empty", "empty: not a file of seed tasks"),
    (
        "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=bad.jsonl",
        "bad.jsonl: not a file of seed tasks",
    ),
    (
        "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=list.jsonl",
        "list.jsonl: not a file of seed tasks",
    ),
    (
        "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=odd.jsonl",
        "odd.jsonl: not a file of seed tasks",
    ),
    (
        "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=binary.jsonl",
        "binary.jsonl: not a file of seed tasks: 'utf-8' codec can't decode",
    ),
    # Resuming
    ("train --resume nowhere", f"nowhere: {NO_RUN}"),
    ("train --resume file", f"file: {NO_RUN}"),
    ("train --resume empty", f"empty: {NO_RUN}"),
    ("train --resume latest", "latest: there is no run in runs/ yet; start one with: azr train demo"),
    ("train demo --resume nowhere", "omit the preset"),
    ("train --resume run --fork run", "--resume continues a run and --fork starts a new one; use only one of them"),
    ("train --resume run steps=1", "steps = 1: run has done 2; ask for more"),
    ("train --resume run learner.lr=1", "azr train --fork run learner.lr=1"),
    ("train --resume bad-config", "bad-config/config.toml: not valid TOML"),
    ("train --resume binary-config", "binary-config/config.toml: not valid TOML"),
    ("train --resume odd-config", "odd-config/config.toml: unknown key nonsense"),
    ("train --resume folder-config", f"folder-config: {NO_RUN}"),
    ("train --resume no-events steps=4", f"no-events/events.jsonl: shorter than at the checkpoint{CHANGED}"),
    ("train --resume half-events steps=4", f"half-events/events.jsonl: shorter than at the checkpoint{CHANGED}"),
    ("train --resume folder-events steps=4", "folder-events"),
    ("train --resume no-metrics steps=4", f"no-metrics/metrics.jsonl: shorter than at the checkpoint{CHANGED}"),
    ("train --resume half-metrics steps=4", f"half-metrics/metrics.jsonl: shorter than at the checkpoint{CHANGED}"),
    ("train --resume folder-metrics steps=4", "folder-metrics"),
    ("train --resume half-weights", f"remove half-weights/checkpoints/000002 {BEFORE}"),
    ("train --resume no-weights", BEFORE),
    ("train --resume no-model-folder", BEFORE),
    ("train --resume half-optimizer", BEFORE),
    ("train --resume no-optimizer", BEFORE),
    ("train --resume half-state", "half-state/checkpoints/000002/state.json: cannot be read"),
    ("train --resume list-state", "list-state/checkpoints/000002/state.json: cannot be read"),
    ("train --resume empty-state", "empty-state/checkpoints/000002/state.json: cannot be read (step: "),
    ("train --resume odd-state", "odd-state/checkpoints/000002/state.json: cannot be read (step: "),
    ("train --resume half-buffer", "half-buffer/checkpoints/000002/buffer.jsonl: cannot be read"),
    ("train --resume list-buffer", "list-buffer/checkpoints/000002/buffer.jsonl: cannot be read"),
    ("train --resume odd-buffer", "odd-buffer/checkpoints/000002/buffer.jsonl: cannot be read"),
    ("train --resume no-buffer", "no-buffer/checkpoints/000002/buffer.jsonl: cannot be read"),
    ("train --resume no-checkpoints", "no-checkpoints: its logs have steps, but checkpoints/ holds no complete"),
    ("train --resume no-checkpoints steps=9", "restore one; to start afresh:"),
    ("train --resume empty-checkpoints", "to start afresh: azr train empty-checkpoints/config.toml"),
    # Forking
    ("train --fork nowhere@1", f"nowhere: {NO_RUN}"),
    ("train --fork run@x", f"run@x: {NO_RUN}"),
    ("train --fork run@99", "no checkpoint after step 99; there are 1, 2; checkpoint.keep"),
    ("train --fork run", "run@2: all 2 steps are done; add, for example, steps=4"),
    ("train --fork run demo", "omit the preset"),
    ("train --fork run model.name=x", "model.name: a fork cannot change it"),
    ("train --fork run nonsense=1", "run/config.toml: unknown key nonsense"),
    ("train --fork half-state steps=4", "half-state/checkpoints/000002/state.json: cannot be read"),
    ("train --fork no-checkpoints", "no-checkpoints/checkpoints: no checkpoint"),
    ("train --fork half-events steps=4", f"half-events/events.jsonl: shorter than at the checkpoint{CHANGED}"),
    ("train --fork no-metrics steps=4", f"no-metrics/metrics.jsonl: shorter than at the checkpoint{CHANGED}"),
    # Sweeps
    ("sweep", "azr sweep takes one preset or file, but none was named; try: azr sweep primes"),
    ("sweep demo other", "azr sweep takes one preset or file, but 2 were named: demo, other"),
    ("sweep demp", "demp: no such preset or file; did you mean demo?"),
    ("sweep demo --seeds x", "--seeds x: expected numbers and ranges, such as 0-4 or 0,2,7"),
    ("sweep demo --seeds 3-1", "--seeds 3-1: expected numbers and ranges"),
    ("sweep demo --seeds 1,1", "--seeds 1,1: a seed is named twice; name each once"),
    ("sweep demo --jobs 0", "Invalid value for '--jobs'"),
    ("sweep demo learner.lr=1,", "learner.lr=1,: a value is empty"),
    ("sweep demo learner.lr=1,1", "a value or a key is named twice; name each once"),
    ("sweep demo nonsense=1,2", "demo: unknown key nonsense"),
    ("sweep demo seed=1,2", "a sweep sets seed itself; use --seeds"),
    ("sweep demo output_dir=x", "a sweep sets output_dir itself; use --out"),
    ("sweep primes --out file", "file: not a directory; name another folder with --out"),
    ("sweep primes --out run", "run: exists already and is no sweep; name another folder with --out"),
    ("sweep primes --out not-a-sweep", "not-a-sweep/sweep.json: cannot be read"),
    # Reading runs
    ("runs nowhere", "nowhere: no runs there; start one with: azr train demo"),
    ("runs file", "file: no runs there"),
    ("report nowhere", "nowhere: neither a run (config.toml) nor an evaluation (results.json)"),
    ("report run empty", "empty: neither a run (config.toml) nor an evaluation (results.json)"),
    ("report bad-config", "bad-config/config.toml: not valid TOML"),
    ("report folder-events", "folder-events/events.jsonl: is a directory; make it readable"),
    ("report folder-metrics", "folder-metrics/metrics.jsonl: is a directory; make it readable"),
    ("report bad-parent", "bad-parent/parent.json: cannot be read"),
    ("report list-parent", "list-parent/parent.json: cannot be read"),
    ("report not-a-sweep", "not-a-sweep/sweep.json: cannot be read"),
    ("report not-results", "not-results/results.json: not the results of azr eval"),
    ("explain nowhere 1/solve/deduction/0000/0", f"nowhere: {NO_RUN}"),
    ("explain run ''", "run: no rollout"),
    (
        "explain run 9/solve/deduction/0000/0",
        "run: no rollout 9/solve/deduction/0000/0 was learnt from; there is, for example,",
    ),
    ("explain run 1/solve/deduction/0000/99", "no rollout 1/solve/deduction/0000/99 was learnt from"),
    ("explain run 1/solve/deduction/0000/0 --tokens -1", "Invalid value for '--tokens'"),
    ("explain no-events 1/solve/deduction/0000/0", "was learnt from; nor was any other yet"),
    ("explain folder-events 1/solve/deduction/0000/0", "folder-events/events.jsonl: is a directory; make it readable"),
    ("explain odd-config 1/solve/deduction/0000/0", "odd-config/config.toml: unknown key nonsense"),
    ("watch nowhere --once", f"nowhere: {NO_RUN}"),
    ("watch file --web", f"file: {NO_RUN}"),
    ("watch bad-config --once", "bad-config/config.toml: not valid TOML"),
    ("watch folder-metrics --once", "folder-metrics/metrics.jsonl: is a directory; make it readable"),
    ("watch run --once --web", "--once is for the terminal; azr report writes the page into a file"),
    ("watch run --web --port 65536", "Invalid value for '--port'"),
    ("watch run --web --port TAKEN", "address already in use; choose another, or 0 for any free one"),
    # Exporting
    ("export nowhere", f"nowhere: {NO_RUN}"),
    ("export run", "run/model: exists already; name another folder, or move this one away"),
    ("export run --to file", "file: exists already; name another folder"),
    ("export run --to file/x", "file/x: file exists; name another folder, or make it writable"),
    (
        "export run --to model --dataset d",
        "--to writes the model and --dataset the tasks and rollouts; use only one of them",
    ),
    ("export run --dataset file", "file: exists already; name another folder"),
    ("export no-checkpoints", "no-checkpoints: no checkpoint with a model yet, so there is nothing to export"),
    ("export no-model-folder --to x", "no checkpoint with a model yet, so there is nothing to export"),
    ("export half-state --to x", "half-state/checkpoints/000002/state.json: cannot be read"),
    ("export half-weights --to x", "half-weights/checkpoints/000002/model/model.safetensors: cannot be read"),
    ("export no-weights --to x", "no-weights/checkpoints/000002/model: cannot be read"),
    ("export bad-config --to x", "bad-config/config.toml: not valid TOML"),
    ("export folder-events --dataset x", "folder-events/events.jsonl: is a directory; make it readable"),
    # Plans
    ("plan demo --gpu rtx-9", "--gpu rtx-9: unknown card; known cards are"),
    ("plan demo --gpus 2", "--gpus 2: name the card too, such as --gpu h100-80gb"),
    ("plan demo --gpus 0 --gpu h100-80gb", "--gpus 0: azr plan divides one machine of up to 8 GPUs"),
    ("plan demo --gpus x --gpu h100-80gb", "Invalid value for '--gpus'"),
    ("plan tinker", "a Tinker service runs it, so there is nothing to plan for this machine"),
    ("plan demo --model m@http://h/v1 selfplay.learn=false", "it runs on a server, so there is nothing to plan"),
    ("plan demo --model empty --no-time", "model empty: cannot be loaded"),
    # Evaluating
    ("eval run", "no benchmark; name one with --bench: humaneval,"),
    ("eval --bench primes", "azr eval takes at least one model, or --gold, or --broken NAME"),
    ("eval --gold --bench humanevl", "--bench humanevl: no such benchmark; did you mean humaneval?"),
    ("eval run --bench python:bad.jsonl", "held-out set bad.jsonl: "),
    ("eval run --bench python:empty", "held-out set empty: "),
    ("eval run --bench python:kind.jsonl", "--bench python:kind.jsonl: this set has no tasks"),
    ("eval --gold --bench mbpp --data .", "--data .: no mbpp.jsonl there"),
    ("eval --broken all --bench aime24", "benchmarks of lm-eval take models only"),
    ("eval --broken bent --bench mbpp", "--broken bent: no such variant; there are all, empty"),
    ("eval run --bench primes --limit 0", "Invalid value for '--limit'"),
    ("eval run --bench primes --samples 4", "--samples 4: samples at temperature 0 are all the same"),
    ("eval run --bench primes --k 0", "--k 0: must be at least 1"),
    ("eval run --bench primes --k x", "--k x: expected whole numbers, separated by commas"),
    ("eval --gold --bench mbpp --k 2", "--k 2: pass@2 needs --samples 2 or more"),
    ("eval run --bench primes --temperature -1", "Invalid value for '--temperature'"),
    ("eval run lr=1 --bench mbpp", "lr: azr eval takes model.KEY=VALUE and sandbox.KEY=VALUE"),
    ("eval run model.devic=1 --bench mbpp", "unknown key devic; did you mean device?"),
    ("eval run sandbox.backend=x --bench primes", "no such backend; registered are"),
    ("eval run run --bench primes", "two models have the same name; name each model once, or by paths that differ"),
    ("eval m@http://h/v1 --bench aime24", "need a model that is loaded on this machine, not one on a server"),
    ("eval m@http://localhost:1/v1 --bench primes --limit 1 --out x", "no server at http://localhost:1/v1"),
    (
        "eval no-model --bench primes",
        "no-model: this run has no model/ yet; finish it with azr train --resume no-model",
    ),
    ("eval run --bench primes --template fancy", "--template fancy: no such template; there are complete"),
    ("eval run --bench primes --limit 1 --template chat --out /dev/null/x", "--template chat: model"),
    ("eval run --bench primes --limit 1 --out file/x", "not a directory; choose another --out, or make it writable"),
    # Playing and talking
    ("play run", "azr play: standard input is not a terminal; use --once and pass the answers as options"),
    ("play run --once --mode x", "--mode x: no such mode; use propose or solve"),
    ("play run --once --kind x", "--kind x: no such kind; the primes domain has deduction, abduction, induction"),
    ("play run --once --attempts 0", "Invalid value for '--attempts'"),
    ("play run --json", "--json needs --once"),
    ("play run --answer 1", "--answer needs --once"),
    ("play run --once --program nowhere", "--program nowhere: cannot be read"),
    ("play run --once --program empty", "--program empty: cannot be read"),
    ("play run --once --program binary.jsonl", "--program binary.jsonl: cannot be read"),
    ("play run --once --input 1", "--input: unknown for propose deduction; use --answer"),
    ("play nursery --once nonsense=1", "nursery: unknown key nonsense"),
    ("play half-model/model --once --answer 1", "model half-model/model: cannot be loaded"),
    ("play m@http://localhost:1/v1 --once --answer 1", "no server at http://localhost:1/v1"),
    ("chat run", "azr chat: standard input is empty; pipe a message into it, or start it on a terminal"),
    ("chat run --top-p 2", "Invalid value for '--top-p'"),
    ("chat run --max-tokens 0", "Invalid value for '--max-tokens'"),
    ("chat run model.nonsense=1", "run: unknown key model.nonsense"),
    ("chat no-model", "no-model: this run has no model/ yet"),
    ("chat m@http://localhost:1/v1", "azr chat loads the model on this machine; to ask a server, use its own client"),
    # Sandboxes and servers
    ("sandbox doctor nonsense", "nonsense: expected the form key.sub=value"),
    ("sandbox doctor bakend=local", "sandbox: unknown key bakend; did you mean backend?"),
    ("sandbox doctor backend=x", "no such backend; registered are auto,"),
    ("sandbox doctor backend=remote url=x", "each address in url has the form http://host:port"),
    ("sandbox doctor backend=remote url=http://localhost:1", "no sandbox server answers at http://localhost:1"),
    ("sandbox doctor options.x=3", "sandbox.options.x: unknown key; 'auto' has no options"),
    ("sandbox doctor workers=-1", "sandbox: workers = -1: input should be greater than 0"),
    ("sandbox serve --port 65536", "Invalid value for '--port'"),
    ("sandbox serve --port TAKEN", "--port TAKEN: address already in use; choose another, or port 0 for any free one"),
    ("sandbox serve --workers 0", "Invalid value for '--workers'"),
    ("sandbox serve backend=remote url=http://h:1", "name another backend than remote"),
    ("sandbox serve --backend unsafe", "accept the risk with sandbox.allow_unsafe = true"),
    ("serve m", "azr serve takes either --gpus, such as --gpus 0-3, or --cpu"),
    ("serve m --gpus 0 --cpu", "azr serve takes either --gpus, such as --gpus 0-3, or --cpu"),
    ("serve m --gpus x", "--gpus x"),
    ("serve m --gpus 0 --port 0", "Invalid value for '--port'"),
]


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield str(server.getsockname()[1])


@pytest.mark.parametrize(("words", "expected"), TABLE, ids=[words for words, _ in TABLE])
def test_bad_input_is_one_line_and_changes_no_file(place, words, expected):
    spoilt = sorted(name for name in SPOILT if name in re.split(r"[ /@]", words))
    for name in spoilt:
        shutil.copytree(place / "run", place / name)
        SPOILT[name](place / name)
    try:
        before = fingerprint(place)
        with taken_port() as port:
            code, _, err = command(*shlex.split(words.replace("TAKEN", port)))
        assert (code, len(err.splitlines())) == (2, 1), err
        assert err.startswith("azr: error: ")
        assert expected.replace("TAKEN", port) in err
        assert fingerprint(place) == before
    finally:
        for name in spoilt:
            shutil.rmtree(place / name)


def full() -> TextIO:
    return open("/dev/full", "w")


def unread() -> TextIO:
    read, write = os.pipe()
    os.close(read)
    return open(write, "w")


OUTPUTS = {
    full: "azr: error: standard output: no space left on device; free some space, or redirect it elsewhere\n",
    unread: "",  # as by `azr presets | head`, whose reader has seen enough
    lambda: None: "azr: error: standard output is closed; redirect it to a file or to /dev/null\n",
}
PRINTING = [
    "",
    "--help",
    "--version",
    "train --help",
    "presets",
    "domains",
    "domains primes",
    "config demo",
    "plan primes --no-time",
    "explain run 1/solve/deduction/0000/0",
    "report run --out page.html",
    "watch run --once",
    "play run --once --seed 1 --mode solve --json --answer 1",
    "export run --to model",
    "export run --dataset dataset",
    "eval run --bench primes --limit 2 --out evals",
    f"train primes {SHORT} output_dir=out",
]


@pytest.mark.parametrize("words", PRINTING)
@pytest.mark.parametrize(("opened", "expected"), OUTPUTS.items(), ids=["full", "unread", "closed"])
def test_output_that_cannot_be_written_is_at_most_one_line(place, tmp_path, monkeypatch, words, opened, expected):
    shutil.copytree(place / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    code, _, err = command(*words.split(), out=opened)
    assert (code, err) == (2 if expected else 1, expected)


def test_a_shell_can_close_every_stream(tmp_path):
    script = f"{sys.executable} -m azr presets <&- 2>&- >presets && {sys.executable} -m azr presets >/dev/full"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "presets").read_text().startswith("climb ")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


def test_plan_and_config_take_the_words_of_train(place):
    code, out, _ = command("config", "--config", "run/config.toml", "--model", "m", "--seed", "3", "--steps", "4")
    assert code == 0
    assert ("steps = 4\nseed = 3\n" in out, 'name = "m"' in out) == (True, True)
    code, out, _ = command("plan", "primes", "--model", "nursery", "--steps", "4", "--no-time")
    assert (code, out.startswith("model: nursery,")) == (0, True)


def test_a_plan_that_does_not_fit_has_exit_code_one(place):
    code, out, err = command("plan", "paper", "--gpu", "rtx-4090-24gb")
    assert (code, err) == (1, "")
    assert "does not fit" in out


def test_stopping_at_once_says_how_to_resume(tmp_path, monkeypatch, capsys):
    async def interrupted(training):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_run("primes", [*SHORT.split(), f"output_dir={tmp_path}"])
    assert f"continue with: azr train --resume {only_run(tmp_path)}" in capsys.readouterr().out.replace("\n", " ")


BROKEN = """
from azr.domains.base import Sources
class Made:
    kinds = ("one",)
    def __init__(self, *_): pass
    def __getattr__(self, name): return print
    def sources(self, kind): return Sources(())
    async def held_out(self, count, sandbox): raise LookupError("no such word")
PLUGIN = DomainPlugin(Settings, Made, "odd")
"""


def test_an_error_within_a_plug_in_names_it_and_its_method(place, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, PLUG_IN + BROKEN)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, _, err = command("train", "primes", "domain.name=odd", "evaluation.tasks=2", f"output_dir={tmp_path}/runs")
    assert code == 2
    assert err.startswith("azr: error: domain odd: Made.held_out raised LookupError: no such word; ")
    (file,) = tmp_path.glob("azr-traceback-*.txt")
    assert (len(err.splitlines()), str(file) in err) == (1, True)
    assert "in held_out" in file.read_text()
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(("name", "taken"), [("model.safetensors", True), ("nursery.json", False)])
def test_the_nursery_keeps_out_of_a_folder_that_holds_something_else(tmp_path, name, taken):
    (tmp_path / name).write_text("")
    assert foreign(tmp_path) is taken
    assert not foreign(tmp_path / "new")


def test_forced_colour_draws_nothing_over(place, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    _, trained, _ = command("train", "primes", *SHORT.split())
    _, evaluated, _ = command("eval", str(place / "run"), "--bench", "primes", "--limit", "2", "--out", "evals")
    assert "step 2/2  deduction valid" in trained
    assert not re.findall(r"\x1b\[\??\d*[A-KhlJ]|\r", trained + evaluated)  # moves, erases, hides the cursor


@pytest.mark.parametrize(("kernel", "expected"), [({}, True), ({"JPY_PARENT_PID": "1"}, False)])
def test_a_terminal_is_redrawn_and_a_notebook_is_not(monkeypatch, kernel, expected):
    monkeypatch.setattr(os, "environ", {"TERM": "xterm-color", **kernel})
    ends = os.openpty()
    with open(ends[0]), open(ends[1], "w") as terminal:
        assert can_redraw(terminal) is expected
