"""Forking, reading and writing, as the processes of the jail and of containers do it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_READ_BYTES = 2**20


def fork(*, odd: bool | None) -> int:
    """Fork a child whose process id is odd, or even; None takes any id.

    Where each process of a determinism pair has a pid namespace of its own, both could otherwise get the same id.
    """
    while True:
        child = os.fork()
        if odd is None or (child or os.getpid()) % 2 == odd:
            return child
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def reap_children() -> None:
    """Wait until this process has no children."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def address_space() -> int:
    """Return the size of this process's address space in bytes.

    Raises:
        OSError: there is no /proc.
    """
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def discard_streams() -> None:
    """Point the three standard streams at /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)


def read_exactly(descriptor: int, wanted: int) -> bytes | bytearray:
    """Read this many bytes; if the input ends before, return none."""
    data: bytes | bytearray = os.read(descriptor, min(wanted, _READ_BYTES))
    if not 0 < len(data) < wanted:
        return data
    data = bytearray(data)  # grows in place: a job may be long
    while len(data) < wanted:
        more = os.read(descriptor, min(wanted - len(data), _READ_BYTES))
        if not more:
            return b""
        data += more
    return data


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
