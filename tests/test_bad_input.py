"""Bad input, as a user gives it: one line that says what is wrong and what to do, its exit code, and nothing lost."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import pytest

from azr import cli
from azr.console import can_redraw
from azr.train.start import start_run
from azr.train.training import Training
from nursery.__main__ import foreign
from tests.domains.test_plugins import PLUG_IN, install
from tests.runs import only_run

SHORT = "steps=2 selfplay.batch_size=2 selfplay.samples=2 selfplay.seed_factor=1 evaluation.tasks=2 checkpoint.every=1"


def command(*words: str, out: Callable[[], TextIO | None] = io.StringIO) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `azr WORDS`, run in this process; `out` opens the output."""
    stream, err = out(), io.StringIO()
    argv, sys.argv = sys.argv, ["azr", *words]
    try:
        with redirect_stdout(stream), redirect_stderr(err):
            with pytest.raises(SystemExit) as end:
                cli.main()
            opened = sys.stdout  # /dev/null in place of a closed one
    finally:
        sys.argv = argv
    if opened is not None and not isinstance(opened, io.StringIO):
        with suppress(BrokenPipeError):
            opened.close()
    return end.value.code or 0, stream.getvalue() if isinstance(stream, io.StringIO) else "", err.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a finished run and with damaged copies of it; every command here runs in it."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, _, err = command("train", "primes", *SHORT.split())
        assert code == 0, err
        only_run(folder / "runs").rename(folder / "run")
        (folder / "runs").rmdir()
        for name, spoil in SPOILT.items():
            shutil.copytree(folder / "run", folder / name)
            spoil(folder / name)
        yield folder


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SPOILT = {
    "half-weights": lambda run: halve(run / "checkpoints" / "000002" / "model" / "model.safetensors"),
    "half-optimizer": lambda run: halve(run / "checkpoints" / "000002" / "optimizer.pt"),
    "half-state": lambda run: halve(run / "checkpoints" / "000002" / "state.json"),
    "no-checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "empty-checkpoints": lambda run: [(path / "state.json").unlink() for path in (run / "checkpoints").iterdir()],
}


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file in a folder with the hash of its bytes, apart from the locks of runs."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.mark.parametrize(
    ("words", "expected", "code"),
    [
        # Settings
        ("train demo domain=3", "demo: domain.name is missing; set it", 2),
        ("train demo domain.name=pythn", "domain.name = pythn: no such domain; did you mean python?", 2),
        ("config demo domain.name=primes domain.induction_inputs=3", "demo: unknown key domain.induction_inputs", 2),
        ("config", "azr config takes one preset or file, but none was named; try: azr config demo", 2),
        ("plan demo other", "azr plan takes one preset or file, but 2 were named: demo, other", 2),
        ("plan demo --gpu rtx-9", "--gpu rtx-9: unknown card; known cards are", 2),
        ("plan demo --config x.toml", "2 were named: demo, x.toml", 2),
        # A start that is refused
        (
            "train primes output_dir=. evaluation.tasks=0 selfplay.seed_file=none.jsonl",
            "none.jsonl: not a file of seed tasks",
            2,
        ),
        # Devices
        ("train primes model.device=gpu", "primes: model.device = 'gpu': use auto, cpu, mps, cuda or cuda:N", 2),
        ("train primes model.device=meta", "primes: model.device = 'meta': use auto, cpu, mps, cuda or cuda:N", 2),
        ("train primes model.device=mps", "model.device = mps: this torch finds no MPS device here; set", 2),
        ("play nursery model.device=mps --once", "no MPS device here; set model.device=auto, or cpu", 2),
        (
            "eval nursery --bench primes model.device=mps --out x",
            "no MPS device here; set model.device=auto, or cpu",
            2,
        ),
        # Evaluating
        ("eval run --bench primes --template fancy", "--template fancy: no such template; there are complete", 2),
        ("eval run --bench primes --limit 1 --template chat --out /dev/null/x", "--template chat: model", 2),
        # Resuming
        (
            "train --resume half-weights",
            "remove half-weights/checkpoints/000002 to go on from the checkpoint before,",
            2,
        ),
        ("train --resume half-optimizer", "to go on from the checkpoint before, 000001", 2),
        ("train --resume half-state", "to go on from the checkpoint before, 000001", 2),
        ("train --resume no-checkpoints", "no-checkpoints: its logs have steps, but checkpoints/ holds no complete", 2),
        ("train --resume empty-checkpoints", "to start afresh: azr train empty-checkpoints/config.toml", 2),
        ("train --resume no-checkpoints steps=9", "restore one; to start afresh:", 2),
    ],
)
def test_bad_input_is_one_line_and_changes_no_file(place, words, expected, code):
    before = fingerprint(place)
    found, _, err = command(*words.split())
    assert (found, len(err.splitlines())) == (code, 1), err
    assert expected in err
    assert fingerprint(place) == before


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
    assert (tmp_path / "presets").read_text().startswith("demo ")
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
