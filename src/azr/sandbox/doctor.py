"""Which protections hold on this machine: each is tried by a program that does what it should prevent.

`doctor` works with any backend. It does not ask what is configured or compiled in: a protection holds if the attempt to
get past it fails.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from azr.sandbox.base import Job, Limits, Mode, Outcome, Reason, Sandbox

_SECRET = "AZR_SANDBOX_DOCTOR"
_LIMITS = Limits(wall_seconds=10.0, cpu_seconds=5, memory_bytes=128 * 2**20)


@dataclass(frozen=True, slots=True)
class Check:
    """One protection, and what came of the attempt to get past it.

    Attributes:
        name: the protection.
        holds: whether the attempt failed as it should.
        tried: what was tried.
        found: what came of it, in a few words.
    """

    name: str
    holds: bool
    tried: str
    found: str


@dataclass(frozen=True)
class _Attempt:
    """A program with `f`, and what may come of it: values, reasons or error classes."""

    name: str
    tried: str
    program: str
    allowed: frozenset[str]
    limits: Limits = _LIMITS


async def doctor(sandbox: Sandbox) -> list[Check]:
    """Try every protection of a sandbox.

    Returns:
        one check for each; the sandbox falls short when one of them does not hold. It is left open.

    Raises:
        SandboxError: the sandbox cannot run anything at all.
    """
    checks = [await _honest(sandbox)]
    os.environ[_SECRET] = "visible"
    with tempfile.TemporaryDirectory() as folder:
        try:
            for attempt in _attempts(_canary(folder)):
                (outcome,) = await sandbox.run(Job(attempt.program, limits=attempt.limits))
                word = _word(outcome)
                checks.append(Check(attempt.name, word in attempt.allowed, attempt.tried, word))
        finally:
            del os.environ[_SECRET]
    checks.append(await _hash_seeds(sandbox))
    checks.append(await _literals(sandbox))
    return [*checks, replace(await _honest(sandbox), name="recovery", tried="an honest program after all of these")]


def _canary(folder: str) -> str:
    """Make a file that everybody on this machine may read, and give its path."""
    canary = Path(folder, "canary")
    canary.write_text("visible")
    canary.parent.chmod(0o755)
    return str(canary)


async def _honest(sandbox: Sandbox) -> Check:
    (outcome,) = await sandbox.run(Job("def f(x): return x + 1", ("41",), limits=_LIMITS))
    return Check("programs run", outcome.value == "42", "an honest program", _word(outcome))


async def _hash_seeds(sandbox: Sandbox) -> Check:
    (outcome,) = await sandbox.run(Job("def f(): return hash('a')", determinism=True, limits=_LIMITS))
    return Check("determinism", outcome.reason is Reason.NONDETERMINISTIC, "return hash('a')", _word(outcome))


async def _literals(sandbox: Sandbox) -> Check:
    (outcome,) = await sandbox.run(Job("", ("__import__('os').getpid()",), mode=Mode.LITERAL, limits=_LIMITS))
    return Check("inputs are data", outcome.reason is Reason.BAD_INPUT, "a call in place of a literal", _word(outcome))


def _word(outcome: Outcome) -> str:
    return (outcome.error or outcome.reason or outcome.value or "")[:60]


def _attempts(canary: str) -> list[_Attempt]:
    """Give the attempts; `canary` is the path of a file that everybody may read."""
    held = frozenset({"'held'"})
    brief = replace(_LIMITS, wall_seconds=1.0)
    spinning = replace(_LIMITS, cpu_seconds=1)
    timeout, memory = frozenset({Reason.TIMEOUT.value}), frozenset({Reason.MEMORY.value})
    fork = "import os\n" + _first_of("os.fork() or os._exit(0)")
    forged = (
        "import os\ndef f():\n  for fd in range(3, 32):\n    try: os.write(fd, b'forged')\n    except OSError: pass"
    )
    unforged = frozenset({"None", Reason.TAMPERED.value, Reason.CRASHED.value})
    environment = f"import os\ndef f(): return {_SECRET!r} in os.environ"
    return [
        _Attempt("network", "open a socket", _first_of("__import__('socket').socket()", *_raw_sockets()), held),
        _Attempt("files", "read a file of the host", _first_of(f"open({canary!r}).read()"), held),
        _Attempt("writing", "write beside it", _first_of(f"open({canary + '.new'!r}, 'w')"), held),
        _Attempt("environment", "look for a variable", environment, frozenset({"False"})),
        # Signal 0 only asks whether a signal could be sent: the backend at hand may be one that would send it.
        _Attempt("other processes", "signal this one", "import os\n" + _first_of(f"os.kill({os.getpid()}, 0)"), held),
        _Attempt("fork", "start a process", fork, held),
        _Attempt("exec", "start a program", "import os\n" + _first_of("os.execv('/bin/true', ['true'])"), held),
        _Attempt("memory", "take 1 GiB", "def f(): return len(bytearray(1 << 30))", memory),
        _Attempt("processor time", "spin", "def f():\n    while True: pass", timeout, spinning),
        _Attempt("wall clock", "sleep", "import time\ndef f(): time.sleep(60)", timeout, brief),
        _Attempt("size", "return 1 MB", "def f(): return 'x' * 10**6", frozenset({Reason.OUTPUT_TOO_LARGE.value})),
        _Attempt("forging", "write to every descriptor", forged, unforged),
    ]


def _first_of(*expressions: str) -> str:
    """Write a program that says which of some expressions could be evaluated, or "held"."""
    body = "".join(
        f"    try:\n        {one}\n        return {one!r}\n    except Exception: pass\n" for one in expressions
    )
    return f"def f():\n{body}    return 'held'"


def _raw_sockets() -> list[str]:
    """Open one without Python's own module, which a backend may lack."""
    return [f"[0][__import__('ctypes').CDLL(None).socket({family}, 1, 0) < 0]" for family in (1, 2, 10)]
