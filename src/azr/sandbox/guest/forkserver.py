"""The first process of a container: forks a child for every job and says how the child ended.

It is sent as source (`bundle.py`) and needs only the standard library. It trusts nothing that a child can reach:

* As process 1 it cannot be killed or stopped from inside; undumpable, it can be neither traced nor read.
* A job is read by its child, and what the child writes goes through memory that no child gets a copy of: so a later one
  can find neither.
* Where a child changed this process's limits or scheduling, it says so and ends; the host starts a fresh container.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import mmap
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress

JOB = struct.Struct(">dII")
"""Before each job: wall seconds, the most bytes that its child may write, the length of the job that follows."""

CHUNK = struct.Struct(">I")
"""Before each piece of what a child wrote: its length. A length of 0 ends the pieces; the report follows."""

REPORT = struct.Struct(">Bid")
"""After a child's end: the number of an `exchange.Stop`, the child's exit code, its CPU seconds."""

READY = b"azr fork server ready\n"
"""Written once, before the first answer."""

_NONE, _WALL_CLOCK, _TOO_MUCH_OUTPUT, _TAMPERING = range(4)
_PR_SET_DUMPABLE = 4
_PASSING = 1 << 16
"""Bytes that are passed on at once."""

_PRELOADED = (
    "bisect collections copy dataclasses datetime decimal fractions functools hashlib heapq itertools json math"
    " operator random re statistics string textwrap typing"
)
"""Imported once, for all children: what programs import most, at 1 to 40 ms each."""


def serve(work: Callable[[bytes, int], None]) -> None:
    """Serve jobs from standard input to standard output until the input ends.

    Args:
        work: runs in the child: takes a job and the descriptor to write its outcomes to, and need not return.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one signal with a handler, so the one that reaches process 1
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in _PRELOADED.split():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every child's first collection would copy the pages of all that was imported
    vitals = _vitals()
    passing = mmap.mmap(-1, _PASSING, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    passing.madvise(mmap.MADV_DONTFORK)  # no child gets what another wrote
    _write_all(1, READY)
    while header := _read_exactly(JOB.size):
        stop, exit_code, cpu_seconds = _run_child(work, passing, *JOB.unpack(header))
        intact = _vitals() == vitals
        _write_all(1, CHUNK.pack(0) + REPORT.pack(stop if intact else _TAMPERING, exit_code, cpu_seconds))
        if not intact:
            return


def _run_child(
    work: Callable[[bytes, int], None], passing: mmap.mmap, wall_seconds: float, most_bytes: int, length: int
) -> tuple[int, int, float]:
    """Fork a child that reads its job and does it; pass on what it writes, and see it to its end."""
    deadline = time.monotonic() + wall_seconds
    reader, writer = os.pipe()
    child = _fork()
    if child == 0:
        try:
            _be_child(work, length, writer)
        finally:
            os._exit(1)
    os.close(writer)
    stop = _pass_on(reader, passing, deadline, most_bytes)
    os.close(reader)
    if stop != _NONE:
        os.kill(child, signal.SIGKILL)
    status, cpu_seconds = _wait(child, deadline)
    _bury_orphans()
    if status is None:
        return _WALL_CLOCK, -signal.SIGKILL, cpu_seconds
    return stop, os.waitstatus_to_exitcode(status), cpu_seconds


def _fork() -> int:
    """Fork a child whose process id is odd where the hash seed is, even where that is even.

    In each container ids begin anew, so both children of a determinism pair could have the same.
    """
    seed = os.environ.get("PYTHONHASHSEED", "")
    wanted = int(seed) % 2 if seed.isdecimal() else None
    while True:
        child = os.fork()
        if wanted is None or (child or os.getpid()) % 2 == wanted:
            return child
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def _be_child(work: Callable[[bytes, int], None], length: int, writer: int) -> None:
    job = _read_exactly(length)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(writer, 3)
    os.closerange(4, 1 << 16)
    work(job, 3)
    os._exit(0)


def _pass_on(reader: int, passing: mmap.mmap, deadline: float, most_bytes: int) -> int:
    """Move what comes to standard output until every writer is gone, the time is over or there is too much.

    It is read, and only then counted: a child can make its pipe one of packets, of which a reader with too little room
    loses the rest. Spliced as they are, they would be lost on the way to the host, and the next child's bytes be taken
    for their end.
    """
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return _WALL_CLOCK
        count = os.readv(reader, [passing])
        if not count:
            return _NONE
        most_bytes -= count
        if most_bytes < 0:
            return _TOO_MUCH_OUTPUT
        _write_all(1, CHUNK.pack(count))
        _write_all(1, memoryview(passing)[:count])


def _wait(child: int, deadline: float) -> tuple[int | None, float]:
    """Give the child's wait status, None where it had to be killed at the deadline, and its CPU seconds."""
    pause = 0.00005
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return None, usage.ru_utime + usage.ru_stime
        time.sleep(pause)
        pause = min(2 * pause, 0.01)


def _bury_orphans() -> None:
    """Wait for the script that a supervisor left behind, which was killed when that died."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _vitals() -> tuple[object, ...]:
    """Give all that a process of the same user may change in this one: `prlimit`, `setpriority`, `sched_set*`."""
    limits = tuple(
        resource.getrlimit(number) for name, number in sorted(vars(resource).items()) if name.startswith("RLIMIT_")
    )
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return limits, priority, os.sched_getscheduler(0), frozenset(os.sched_getaffinity(0))


def _read_exactly(length: int) -> bytes:
    """Read from standard input; fewer bytes than asked for mean that the host has gone, which ends the server."""
    data = bytearray()
    while len(data) < length:
        piece = os.read(0, length - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
