"""What a process of the Docker, remote and unsafe backends does with a job: limit itself, run it, write its outcomes.

It is sent as source (`bundle.py`). Outcomes are written as soon as they are known, so that a later death loses none.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import suppress

from azr.sandbox.guest.process import address_space, discard_streams, write_all
from azr.sandbox.guest.wire import pack_outcome
from azr.sandbox.guest.worker import outcomes

_OPEN_FILES = 64


def run_job(job: bytes | bytearray, descriptor: int) -> None:
    """Run a job that `exchange.request` made and write its outcomes to a descriptor."""
    request = json.loads(job)
    _limit_self(request["cpu_seconds"], request["memory_bytes"], supervisor=request["mode"] == "script")
    request["payload"] = descriptor
    for record in outcomes(request):
        write_all(descriptor, pack_outcome(record))


def main() -> None:
    """Run the one job on standard input, write its outcomes to standard output, and end the process."""
    with open(0, "rb", closefd=False) as stdin:
        job = stdin.read()
    descriptor = os.dup(1)
    discard_streams()  # what the program prints must not end up between the outcomes
    run_job(job, descriptor)
    os._exit(0)  # not sys.exit: nothing that the program left behind (atexit, threads, finalizers) runs


def _limit_self(cpu_seconds: int, memory_bytes: int, *, supervisor: bool) -> None:
    """Lower this process's limits, hard ones too, so that the program cannot raise them again.

    A supervisor has to write files and fork, and no program runs in it: `script.py` limits the script.
    """
    used = 0
    with suppress(OSError):
        used = address_space()
    limits = {
        "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),  # SIGXCPU, then SIGKILL if that is ignored
        "RLIMIT_AS": (used + memory_bytes,) * 2,
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NOFILE": (_OPEN_FILES, _OPEN_FILES),
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }
    if supervisor:
        del limits["RLIMIT_FSIZE"], limits["RLIMIT_NPROC"]
    for name, limit in limits.items():
        # macOS lacks or refuses some of these. The backends that claim a limit run on Linux, where none is refused.
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), limit)
