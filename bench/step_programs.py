"""Runs recorded programs without isolation, as the hosts of `bench/step.py` do.

A program that runs too long is ended, and none may take more than `MEMORY` bytes: they are a model's. In both ways a
program that azr ran twice runs twice in one process, and a literal is read without a process.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from sandbox import validate
from step_work import Program

MEMORY = 2 * 2**30
_CODE = f"""\
import resource
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
for run in range({{runs}}):
    scope, values = {{{{}}}}, []
    exec({{source!r}}, scope)
    for text in {{inputs!r}}:
        try:
            values.append(repr(eval({{entry!r}} + "(" + text + ")", scope)))
        except Exception:
            values.append(None)
print()
print(ascii(values))
"""


class Runner(Protocol):
    """A way to run programs."""

    def run(self, programs: Sequence[Program]) -> list[list[bool]]:
        """Run all programs; for each input of each, whether it gave a value."""
        ...

    def close(self) -> None: ...


class Subprocesses:
    """A process per program, as many at once as there are processors."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def run(self, programs: Sequence[Program]) -> list[list[bool]]:
        return list(self._threads.map(_subprocess, programs))

    def close(self) -> None:
        self._threads.shutdown()


def _subprocess(program: Program) -> list[bool]:
    if program.literal:
        return _read(program)
    code = _CODE.format(runs=1 + program.twice, source=program.source, inputs=program.inputs, entry=program.entry)
    command = [sys.executable, "-I", "-S", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, timeout=program.wall_seconds, check=False)
    except (subprocess.TimeoutExpired, ValueError):  # ValueError: a null byte
        return [False] * len(program.inputs)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:  # a program may end its process with code 0
        return [False] * len(program.inputs)
    return [value is not None for value in ast.literal_eval(lines[-1].decode())]


class Pool:
    """The reference implementation's design: one persistent worker, one round trip per input (`bench/sandbox.py`)."""

    def __init__(self) -> None:
        self._pool = self._start()

    def run(self, programs: Sequence[Program]) -> list[list[bool]]:
        return [
            _read(program) if program.literal else [self._one(program, text) for text in program.inputs]
            for program in programs
        ]

    def close(self) -> None:
        self._pool.shutdown()

    def _one(self, program: Program, text: str) -> bool:
        try:
            return self._pool.submit(_in_worker, program, text).result()
        except BrokenProcessPool:  # the worker was ended, or the program ended it
            self._pool.shutdown()
            self._pool = self._start()
            return False

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=_limit_worker)


class _TooLongError(BaseException):
    """Not an `Exception`, which a program might catch."""


def _limit_worker() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    with open(os.devnull, "w") as nowhere:  # for what programs print
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _too_long(number: int, frame: object) -> None:
    raise _TooLongError


def _in_worker(program: Program, text: str) -> bool:
    """Run a program on one input. SIGVTALRM ends the worker if the interpreter does not get to the other signal."""
    signal.setitimer(signal.ITIMER_REAL, program.wall_seconds, 0.1)
    signal.setitimer(signal.ITIMER_VIRTUAL, 4 * program.wall_seconds)
    try:
        if program.twice:
            validate(program.source, text, entry=program.entry)
        else:
            scope: dict[str, object] = {}
            exec(program.source, scope)
            repr(eval(f"{program.entry}({text})", scope))
    except (Exception, _TooLongError, SystemExit):
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return True


def _read(program: Program) -> list[bool]:
    return [_is_literal(text) for text in program.inputs]


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except Exception:
        return False
    return True
