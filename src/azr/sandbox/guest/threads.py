"""What a script's process may start: threads, and never another process.

A filter of system calls, on top of whatever filter is there, refuses every way to fork. RLIMIT_NPROC bounds the
threads, which it counts like processes. If no filter can be installed, the limit is 0, which stops both.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import resource
import signal
from typing import NamedTuple

from azr.sandbox.guest.bpf import (
    ALLOW,
    AT_ARGUMENTS,
    AUDIT,
    ERRNO,
    JUMP_ANY_BIT,
    JUMP_EQUAL,
    LOAD,
    RETURN,
    SECCOMP,
    install,
    no_new_privileges,
    opening,
    step,
    this_machine,
)

_PR_SET_PDEATHSIG = 1
_CLONE_THREAD = 0x00010000
_M_ARENA_MAX = -8


class Calls(NamedTuple):
    """The numbers of the calls that the filter knows."""

    clone: int
    clone3: int
    prctl: int
    refused: dict[str, int]
    """Those that fork; those that would undo what was done here; and a file in memory, which could be of any size."""


CALLS = {
    "x86_64": Calls(56, 435, 157, {"fork": 57, "vfork": 58, "seccomp": SECCOMP["x86_64"], "memfd_create": 319}),
    "aarch64": Calls(220, 435, 167, {"seccomp": SECCOMP["aarch64"], "memfd_create": 279}),
}


def assemble(machine: str) -> bytes:
    """Write the filter for one of the architectures of `CALLS`."""
    calls = CALLS[machine]
    refuse, allow = step(RETURN, ERRNO | errno.EPERM), step(RETURN, ALLOW)
    flags = step(LOAD, AT_ARGUMENTS)
    code = [
        *opening(AUDIT[machine]),
        step(JUMP_EQUAL, calls.clone, otherwise=4),
        flags,
        step(JUMP_ANY_BIT, _CLONE_THREAD, otherwise=1),
        allow,
        refuse,
        # Its flags are in memory, where no filter can see them; libc falls back on the older call.
        step(JUMP_EQUAL, calls.clone3, otherwise=1),
        step(RETURN, ERRNO | errno.ENOSYS),
        # It is to die with its supervisor, whatever it asks for.
        step(JUMP_EQUAL, calls.prctl, otherwise=4),
        flags,
        step(JUMP_EQUAL, _PR_SET_PDEATHSIG, otherwise=1),
        refuse,
        allow,
    ]
    for number in calls.refused.values():
        code += [step(JUMP_EQUAL, number, otherwise=1), refuse]
    return b"".join([*code, allow])


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, if the system has such a call."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def only_threads(most: int | None) -> None:
    """Let this process have threads, and no process of its own.

    `most` is RLIMIT_NPROC, which counts existing processes and threads too; a lower limit stays, and None changes none.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        # Or malloc would set aside 64 MiB of the limit on memory for each thread.
        libc.mallopt(_M_ARENA_MAX, 1)
    try:
        with contextlib.suppress(OSError):  # refused in the jail, where it was done long ago
            no_new_privileges()
        install(assemble(this_machine()))
    except (OSError, AttributeError):
        most = 0
    if most is not None:
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
