"""Starting a zygote, and the host's end of its pipes."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azr.sandbox.base import SandboxError
from azr.sandbox.jail.rlimits import why_dead

_PACKAGES = str(Path(__file__).resolve().parents[3])
_BOOTSTRAP = """\
import fcntl, os, sys
kind, tier, cpu, seed, *given = sys.argv[1:]
moved = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 3 + len(given)) for descriptor in given]
for wanted, descriptor in enumerate(moved, 3):
    os.dup2(descriptor, wanted, inheritable=False)
os.closerange(3 + len(given), os.sysconf("SC_OPEN_MAX"))
sys.path.insert(0, %r)
from azr.sandbox.jail.zygote import main
main(kind, tier, int(cpu) if cpu else None, int(seed))
"""
_PIPE_BYTES = 2**20  # the largest pipe that Linux allows an ordinary user


@dataclass
class Channels:
    """A zygote's guard and the host's ends of its pipes."""

    process: subprocess.Popen[bytes]
    death: int  # becomes readable when the guard has ended
    jobs: int  # never blocks
    results: int  # never blocks
    payload: int  # of the child at work; the zygote shares its flags, and has to block on it


def spawn(kind: str, tier: str, *, cpu: int | None, seed: int) -> Channels:
    """Start a zygote: a fresh interpreter with an environment of our own, never a fork of the host.

    The arguments are those of `zygote.main`; the seed is also that of hashes.

    Raises:
        OSError: there is no descriptor, process or memory left; nothing stays behind.
    """
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        jobs_read, jobs_write = _pipe(theirs, ours)
        results_read, results_write = _pipe(ours, theirs)
        payload_read, payload_write = _pipe(ours, theirs)
        # If the kernel refuses, the zygote reports the size, and the host sends fewer inputs at a time.
        for pipe in (results_read, payload_read):
            with contextlib.suppress(PermissionError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        given = (jobs_read, results_write, payload_read, payload_write)
        # Not -I, which ignores PYTHONHASHSEED; the rest of it is -s and -P, as no other variable is set.
        interpreter = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOTSTRAP % _PACKAGES]
        process = subprocess.Popen(
            [*interpreter, kind, tier, "" if cpu is None else str(cpu), str(seed), *map(str, given)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=given,
            # LD_BIND_NOW resolves every function at the start. Otherwise each child resolves those that it calls first,
            # and copies the pages that this writes to: a twentieth of its time.
            env={"PYTHONHASHSEED": str(seed), "LD_BIND_NOW": "1"},
            start_new_session=True,
        )
        try:
            death = os.pidfd_open(process.pid)
        except OSError:
            process.kill()
            process.wait()
            raise
        os.set_blocking(jobs_write, False)
        os.set_blocking(results_read, False)
        ours.pop_all()
    return Channels(process, death, jobs_write, results_read, payload_read)


def _pipe(readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
    """Make a pipe, and have each stack close its end of it."""
    reader, writer = os.pipe()
    readers.callback(os.close, reader)
    writers.callback(os.close, writer)
    return reader, writer


def read_hello(line: bytes) -> dict[str, Any]:
    """Read a zygote's first line, written before any program came near it.

    Raises:
        HostLimitError: a limit of this machine is too low.
        SandboxError: the jail could not be built; the message says what was refused.
    """
    try:
        hello: dict[str, Any] = json.loads(line)
    except ValueError:  # none, or a part: it was killed, or lacked something
        raise SandboxError(f"the interpreter did not start{why_dead()}") from None
    if "limit" in hello:
        raise HostLimitError(hello["refused"])
    if "refused" in hello:
        raise SandboxError(hello["refused"])
    return hello


class HostLimitError(SandboxError):
    """A limit or a shortage of this machine, and not the jail: another tier would not help."""
