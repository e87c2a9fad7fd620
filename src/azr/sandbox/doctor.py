"""Which protections hold on this machine: each is tried by a program that does what it should prevent.

`doctor` works with any backend. It does not look at configuration: a protection holds if the attempt to break it fails.
"""

import asyncio
import os
import tempfile
from collections.abc import Collection, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from azr.sandbox.base import Job, Limits, Mode, Outcome, Reason, Sandbox

_SECRET = "AZR_SANDBOX_DOCTOR"
_PROGRAMS = ("/bin/true", "/usr/bin/true", "/bin/sh")
LIMITS = Limits(wall_seconds=10.0, cpu_seconds=5, memory_bytes=128 * 2**20)
"""Of each attempt of `doctor`."""

_QUICK = ("programs run", "network", "files", "writing", "environment", "other processes", "fork", "exec")


class Runner(Protocol):
    """Runs jobs: a sandbox, or one server of several."""

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """See `Sandbox.run`."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One protection, and the result of an attempt to break it."""

    name: str  # the protection
    holds: bool  # whether the attempt failed as it should
    tried: str  # what was tried
    found: str  # the result, in a few words


@contextmanager
def witness() -> Iterator[Path]:
    """What programs must not reach: a file that everybody on this machine may read, and an environment variable.

    Yields:
        the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder, "canary")
        canary.write_text("visible")
        canary.parent.chmod(0o755)
        os.environ[_SECRET] = "visible"
        try:
            yield canary
        finally:
            os.environ.pop(_SECRET, None)


async def doctor(sandbox: Sandbox) -> list[Check]:
    """Try every protection of a sandbox, which is left open, and return one check for each; all have to hold.

    Raises:
        SandboxError: the sandbox cannot run anything at all.
    """
    with witness() as canary:
        return [await _try(sandbox, *attempt) for attempt in _attempts(str(canary), os.getpid(), LIMITS)]


async def probe(sandbox: Runner, canary: str, pid: int, limits: Limits, more: Collection[str] = ()) -> list[Check]:
    """Try all at once the protections that take no time to try, on another machine that was examined by `doctor`.

    Args:
        sandbox: runs the attempts.
        canary: a file on the sandbox's machine (see `witness`).
        pid: a process on that machine.
        limits: of each attempt.
        more: names of further checks to make.

    Raises:
        SandboxError: the sandbox cannot run anything at all.
    """
    quick = [attempt for attempt in _attempts(canary, pid, limits) if attempt[0] in (*_QUICK, *more)]
    return await asyncio.gather(*(_try(sandbox, *attempt) for attempt in quick))


async def _try(sandbox: Runner, name: str, tried: str, job: Job, allowed: Set[str]) -> Check:
    (outcome,) = await sandbox.run(job)
    word = (outcome.error or outcome.reason or outcome.value or "")[:60]
    return Check(name, word in allowed, tried, word)


def _attempts(canary: str, pid: int, limits: Limits) -> list[tuple[str, str, Job, Set[str]]]:
    """List protections, what is tried, the job that tries it, and its allowed values, reasons or error classes."""

    def job(program: str, text: str = "") -> Job:
        return Job(program, (text,), limits=limits)

    honest = job("def f(x): return x + 1", "41")
    forged = "import os\ndef f():\n  for n in range(3, 32):\n    try: os.write(n, b'forged')\n    except OSError: pass"
    spinning = replace(job("def f():\n    while True: pass"), limits=replace(limits, cpu_seconds=1))
    sleeping = replace(job("import time\ndef f(): time.sleep(60)"), limits=replace(limits, wall_seconds=1.0))
    environment = job(f"import os\ndef f(): return {_SECRET!r} in os.environ")
    huge, long = job("def f(): return len(bytearray(1 << 30))"), job("def f(): return 'x' * 10**6")
    hashed = replace(job("def f(): return hash('a')"), determinism=True)
    call = replace(job("", "__import__('os').getpid()"), mode=Mode.LITERAL)
    forking = job("import os\ntry: os.fork() or os._exit(0)\nexcept OSError: print('held', end='')")
    forking = replace(forking, mode=Mode.SCRIPT)
    # Without Python's own module, which a backend may lack.
    raw_sockets = [f"[0][__import__('ctypes').CDLL(None).socket({family}, 1, 0) < 0]" for family in (1, 2, 10)]
    held, timeout = {"'held'"}, {Reason.TIMEOUT.value}
    return [
        ("programs run", "an honest program", honest, {"42"}),
        ("network", "open a socket", job(_first_of("__import__('socket').socket()", *raw_sockets)), held),
        ("files", "read a file of the host", job(_first_of(f"open({canary!r}).read()")), held),
        ("writing", "write beside it", job(_first_of(f"open({canary + '.new'!r}, 'w')")), held),
        ("environment", "look for a variable", environment, {"False"}),
        # Signal 0 only asks whether a signal could be sent: the backend at hand may be one that would send it.
        ("other processes", "signal this one", job(_first_of(f"os.kill({pid}, 0)")), held),
        ("fork", "start a process", job(_first_of("os.fork() or os._exit(0)")), held),
        ("fork in a script", "start a process from a script", forking, {"held"}),
        ("exec", "start a program", job(_first_of(*(f"os.execv({one!r}, ['true'])" for one in _PROGRAMS))), held),
        ("memory", "take 1 GiB", huge, {Reason.MEMORY.value}),
        ("processor time", "spin", spinning, timeout),
        ("wall clock", "sleep", sleeping, timeout),
        ("size", "return 1 MB", long, {Reason.OUTPUT_TOO_LARGE.value}),
        ("forging", "write to every descriptor", job(forged), {"None", Reason.TAMPERED.value, Reason.CRASHED.value}),
        ("determinism", "return hash('a')", hashed, {Reason.NONDETERMINISTIC.value}),
        ("inputs are data", "a call in place of a literal", call, {Reason.BAD_INPUT.value}),
        ("recovery", "an honest program after all of these", honest, {"42"}),
    ]


def _first_of(*expressions: str) -> str:
    """Write a program that says which of some expressions could be evaluated, or "held"."""
    body = "".join(
        f"    try:\n        {one}\n        return {one!r}\n    except Exception: pass\n" for one in expressions
    )
    return f"import os\ndef f():\n{body}    return 'held'"
