"""`azr` commands that are run in this process, and what they leave on disk."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import pytest

from azr import cli

SHORT = "steps=2 selfplay.batch_size=2 selfplay.samples=2 selfplay.seed_factor=1 evaluation.tasks=2 checkpoint.every=1"


def command(
    *words: str, out: Callable[[], TextIO | None] = io.StringIO, stdin: TextIO | None = None
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `azr WORDS`, run in this process; `out` opens the output."""
    stream, err = out(), io.StringIO()
    argv, sys.argv = sys.argv, ["azr", *words]
    given, sys.stdin = sys.stdin, stdin or io.StringIO()
    try:
        with redirect_stdout(stream), redirect_stderr(err):
            with pytest.raises(SystemExit) as end:
                cli.main()
            opened = sys.stdout  # /dev/null in place of a closed one
    finally:
        sys.argv, sys.stdin = argv, given
    if opened is not None and not isinstance(opened, io.StringIO):
        with suppress(BrokenPipeError):
            opened.close()
    return end.value.code or 0, stream.getvalue() if isinstance(stream, io.StringIO) else "", err.getvalue()


def fingerprint(*folders: Path) -> dict[str, str]:
    """Every path in some folders with the hash of its bytes, apart from the locks of runs."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for folder in folders
        for path in folder.rglob("*")
        if path.name != ".lock"
    }
