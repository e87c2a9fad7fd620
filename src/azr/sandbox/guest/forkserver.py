"""The first process of a container: forks a child for every job and reports how the child ended.

It is sent as source (`bundle.py`) and needs only the standard library. It trusts nothing that a child can reach:

* As process 1 it cannot be killed or stopped from inside; undumpable, it can be neither traced nor read.
* A job is read by its child. What the child writes goes through memory that no child inherits, so a later child can
  find neither.
* If a child changed this process's limits or scheduling, it says so and ends; the host starts a fresh container.
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

from azr.sandbox.guest.process import discard_streams, fork, read_exactly, reap_children, write_all

JOB = struct.Struct(">dII")
"""Before each job: wall seconds, the most bytes that its child may write, the length of the job that follows."""

CHUNK = struct.Struct(">I")
"""Before each piece of what a child wrote: its length. A length of 0 ends the pieces; the report follows."""

REPORT = struct.Struct(">Bid")
"""After a child's end: the number of an `exchange.Stop`, the child's exit code, its CPU seconds."""

READY = b"azr fork server ready\n"  # written once, before the first answer
_NONE, _WALL_CLOCK, _TOO_MUCH_OUTPUT, _TAMPERING = range(4)
_PR_SET_DUMPABLE = 4
_PASSING = 1 << 16  # bytes that are passed on at once
_PRELOADED = (
    "bisect collections copy dataclasses datetime decimal fractions functools hashlib heapq itertools json math"
    " operator random re statistics string textwrap typing"
)
"""Imported once for all children: what programs import most, at 1 to 40 ms each."""


def serve(work: Callable[[bytes | bytearray, int], None]) -> None:
    """Serve jobs from standard input to standard output until the input ends.

    `work` runs in the child: it takes a job and the descriptor to write its outcomes to, and need not return.
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
    write_all(1, READY)
    while header := read_exactly(0, JOB.size):
        stop, exit_code, cpu_seconds = _run_child(work, passing, *JOB.unpack(header))
        intact = _vitals() == vitals
        write_all(1, CHUNK.pack(0) + REPORT.pack(stop if intact else _TAMPERING, exit_code, cpu_seconds))
        if not intact:
            return


def _run_child(
    work: Callable[[bytes | bytearray, int], None],
    passing: mmap.mmap,
    wall_seconds: float,
    most_bytes: int,
    length: int,
) -> tuple[int, int, float]:
    """Fork a child that reads its job and runs it; pass on what it writes, and wait for its end."""
    deadline = time.monotonic() + wall_seconds
    reader, writer = os.pipe()
    seed = os.environ.get("PYTHONHASHSEED", "")
    child = fork(odd=int(seed) % 2 == 1 if seed.isdecimal() else None)
    if child == 0:
        try:
            job = read_exactly(0, length)
            discard_streams()
            os.dup2(writer, 3)
            os.closerange(4, 1 << 16)
            work(job, 3)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    stop = _pass_on(reader, passing, deadline, most_bytes)
    os.close(reader)
    if stop != _NONE:
        os.kill(child, signal.SIGKILL)
    status, cpu_seconds = _wait(child, deadline)
    reap_children()  # the script of a supervisor that died, which was killed by that
    if status is None:
        return _WALL_CLOCK, -signal.SIGKILL, cpu_seconds
    return stop, os.waitstatus_to_exitcode(status), cpu_seconds


def _pass_on(reader: int, passing: mmap.mmap, deadline: float, most_bytes: int) -> int:
    """Move what a child writes to standard output until every writer is gone, time is up or there is too much.

    Bytes are read first and counted then. A child can turn its pipe into one of packets, and a reader with too little
    room loses the rest of a packet. With splice, the host would take the next child's bytes for the lost ones.
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
        write_all(1, CHUNK.pack(count))
        write_all(1, memoryview(passing)[:count])


def _wait(child: int, deadline: float) -> tuple[int | None, float]:
    """Return the child's wait status, None if it had to be killed at the deadline, and its CPU seconds."""
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


def _vitals() -> tuple[object, ...]:
    """Return all that a process of the same user can change in this one: `prlimit`, `setpriority`, `sched_set*`."""
    limits = tuple(
        resource.getrlimit(number) for name, number in sorted(vars(resource).items()) if name.startswith("RLIMIT_")
    )
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return limits, priority, os.sched_getscheduler(0), frozenset(os.sched_getaffinity(0))
