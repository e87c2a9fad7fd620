"""Short runs of the apprentice, by the public command."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# One process imports torch once, which takes five seconds of a processor; runs are forked off it.
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(
    [
        "azr.train.start",
        "azr.evals.command",
        "azr.rollout.local.generator",
        "azr.learn.learner",
        "azr.export.model_card",
        "azr.train.training",
    ]
)

TINY = """
steps = {steps}
threads = 1

[model]
name = "{model}"

[domain]
name = "python"
style = "compact"
induction_inputs = 4
induction_shown = 2
program_bytes = 200

[selfplay]
batch_size = 3
references = 2
samples = 3
seed_factor = 2

[generation]
max_prompt_tokens = 200
max_propose_tokens = 80
max_solve_tokens = 60

[learner]
lr = 1e-4

[evaluation]
tasks = 0

[checkpoint]
every = 1
"""


def tiny_config(folder: Path, model: Path, *, steps: int = 3) -> Path:
    """Write the configuration of a short run and return its path."""
    path = folder / "tiny.toml"
    path.write_text(TINY.format(model=model, steps=steps))
    return path


def azr(
    *words: object,
    cwd: Path,
    timeout: float = 240,
    env: Mapping[str, str] | None = None,
    input: str = "",
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own.

    It is forked off one that has torch, or with `fresh` begins from nothing: where libraries are to see an environment
    while they are imported, and where equal runs must not share the seed of their hashes.
    """
    texts, told = [str(word) for word in words], os.environ if env is None else env
    if fresh:
        command = [sys.executable, "-m", "azr", *texts]
        options: dict[str, Any] = {"cwd": cwd, "env": told, "input": input, "timeout": timeout}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stdin").write_text(input)
        process = forkserver.Process(target=_forked, args=(texts, cwd, dict(told), folder))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(texts, timeout)
        said = [(folder / stream).read_text() for stream in ("stdout", "stderr")]
        return subprocess.CompletedProcess(texts, process.exitcode, *said)


def _forked(words: list[str], cwd: Path, env: dict[str, str], folder: Path) -> None:
    """What a forked process does to be like one that a shell has started."""
    from azr.cli import main

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        file = os.open(folder / stream, os.O_RDONLY if stream == "stdin" else os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.argv = open(0, closefd=False), ["azr", *words]  # noqa: SIM115 -- open as long as the process
    main()


def only_run(folder: Path) -> Path:
    """The one run directory in a folder."""
    (run,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return run


def metrics(run: Path) -> list[dict[str, Any]]:
    """Metrics without times, which are the only thing that two equal runs do not share."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("seconds", None)
    return records


def events(run: Path) -> list[dict[str, Any]]:
    """All events of a run."""
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
