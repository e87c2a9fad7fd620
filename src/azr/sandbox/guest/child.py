"""What a process of the Docker, remote and unsafe backends does with a job: limit itself, run it, write its outcomes.

It is sent as source (`bundle.py`). Outcomes go out as soon as they are known, so that a death later on does not lose
them.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import suppress
from typing import Any

from azr.sandbox.guest.wire import pack_outcome
from azr.sandbox.guest.worker import outcomes

_OPEN_FILES = 64


def run_job(job: bytes, descriptor: int) -> None:
    """Run a job and write its outcomes to a descriptor.

    Args:
        job: what `exchange.request` made.
        descriptor: where the outcomes go, as `wire.pack_outcome` writes them.
    """
    request = json.loads(job)
    _limit_self(request["cpu_seconds"], request["memory_bytes"], supervisor=request["mode"] == "script")
    request["payload"] = descriptor
    for record in outcomes(request):
        view = memoryview(pack_outcome(record))
        while view:
            view = view[os.write(descriptor, view) :]


def main() -> None:
    """Run the one job that standard input holds, with its outcomes on standard output, then end the process."""
    with open(0, "rb", closefd=False) as stdin:
        job = stdin.read()
    # What the program prints must not end up between the outcomes.
    descriptor = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    run_job(job, descriptor)
    os._exit(0)  # not sys.exit: nothing that the program left behind (atexit, threads, finalizers) runs


def _limit_self(cpu_seconds: int, memory_bytes: int, *, supervisor: bool) -> None:
    """Lower this process's limits, hard ones too, so that the program cannot raise them again.

    Args:
        cpu_seconds: as in `azr.sandbox.base.Limits`.
        memory_bytes: likewise.
        supervisor: no program runs in this process, which has to write files and fork: `script.py` limits the script.
    """
    limits: dict[str, tuple[int, int]] = {
        "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),  # SIGXCPU, then SIGKILL if that is ignored
        "RLIMIT_AS": (_address_space() + memory_bytes,) * 2,
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NOFILE": (_OPEN_FILES, _OPEN_FILES),
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }
    if supervisor:
        del limits["RLIMIT_FSIZE"], limits["RLIMIT_NPROC"]
    for name, limit in limits.items():
        number: Any = getattr(resource, name, None)
        if number is not None:
            # macOS refuses some of these. The backends that claim a limit run on Linux, where none is refused.
            with suppress(ValueError, OSError):
                resource.setrlimit(number, limit)


def _address_space() -> int:
    """Give the size of this process's address space in bytes; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
