"""Counting a user's processes and threads, so that RLIMIT_NPROC leaves room for a script's threads and little more.

RLIMIT_NPROC counts all that a user has. In a user namespace of the jail's own these are few and known. Elsewhere there
may be any number, and it may change at any time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from typing import NamedTuple

THREADS = 256  # how many threads a script may have in its one process
_MOST = 2**16
_COUNT = struct.Struct("=I")
_PROCS = 80  # where `struct sysinfo` of a 64-bit machine has the number of all threads, as 16 bits


class Census(NamedTuple):
    """Counts of processes and threads before any program came near."""

    user: int
    machine: int | None
    """The lower 16 bits of everybody's; None if the user's own cannot change."""

    def limit(self) -> int:
        """Return RLIMIT_NPROC for a script that starts now.

        Whatever the machine has gained since the census may be this user's, so the limit grows by as much.
        """
        if self.machine is None:
            return self.user + THREADS
        grown = (_threads_of_machine() - self.machine) % 2**16
        return self.user + THREADS + (grown if grown < 2**15 else 0)


def take(*, alone: bool) -> Census:
    """Count; `alone` says whether this process has a user namespace of its own."""
    return Census(_processes_of_user(), None if alone else _threads_of_machine())


def _processes_of_user() -> int:
    """Find by trying, in a child, the lowest RLIMIT_NPROC under which this user can start a process.

    In containers, what can be read about it (/proc, cgroups) is not what the kernel counts.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, _COUNT.pack(_lowest()))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        (count,) = _COUNT.unpack(pipe.read())
    os.waitpid(child, 0)
    return int(count)


def _lowest() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    low, high = 0, _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    while low < high:
        middle = (low + high) // 2
        resource.setrlimit(resource.RLIMIT_NPROC, (middle, hard))
        if _can_fork():
            high = middle
        else:
            low = middle + 1
    return low


def _can_fork() -> bool:
    try:
        child = os.fork()
    except BlockingIOError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _threads_of_machine() -> int:
    answer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).sysinfo(answer) != 0:
        raise OSError(ctypes.get_errno(), "sysinfo refused")
    return int(struct.unpack_from("=H", answer, _PROCS)[0])
