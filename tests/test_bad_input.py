"""Bad input, as a user gives it: one line that says what is wrong and what to do, its exit code, and nothing lost."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from azr import cli
from tests.runs import only_run

SHORT = "steps=2 selfplay.batch_size=2 selfplay.samples=2 selfplay.seed_factor=1 evaluation.tasks=2 checkpoint.every=1"


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `azr WORDS`, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["azr", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = argv
    return end.value.code or 0, out.getvalue(), err.getvalue()


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


SPOILT = {
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
        # Resuming
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
