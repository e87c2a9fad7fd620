"""Pages that every child writes to: copied by the fork all at once, instead of by the child, which stops for each.

A child shares its zygote's memory until it writes. Then the kernel stops it, copies the page and lets it go on: 2.4 µs
each, for some 200 pages, which was more than half of all that a child cost. A page that is pinned for a device cannot
be shared, so a fork copies it there and then, for less than half of that; and a zygote is not stopped either when it
next writes to its own.

The one thing by which an ordinary process can pin pages is a ring of io_uring, made before the jail is shut and never
used for anything else: system calls on it are refused in there, and a child inherits neither it nor a descriptor of it.
Where there is no io_uring, children fault as ever: that costs speed, and no protection.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

_IO_URING_SETUP, _IO_URING_REGISTER = 425, 427  # the same on all architectures
_REGISTER_BUFFERS = 0
_MADV_DONTFORK = 10
_PRESENT, _OF_A_FILE, _EXCLUSIVE = 1 << 63, 1 << 61, 1 << 56  # in /proc/self/pagemap
_MAP_FAILED = ctypes.c_void_p(-1).value
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p


def ring() -> int | None:
    """Make a ring; while this process is root, or what it pins counts against RLIMIT_MEMLOCK.

    Returns:
        its descriptor, which `pin` closes; None where there is no io_uring, or it may not be used.
    """
    parameters = (ctypes.c_uint32 * 30)()
    descriptor: int = _LIBC.syscall(ctypes.c_long(_IO_URING_SETUP), 1, ctypes.byref(parameters))
    return None if descriptor < 0 else descriptor


def written_by_most(trials: Sequence[Callable[[], object]]) -> list[int]:
    """Find the pages that are written to in at least half of the trials; none if one fails or /proc is silent."""
    try:
        counts = Counter(page for trial in trials for page in _written(trial))
    except OSError:
        return []
    return sorted(page for page, count in counts.items() if 2 * count >= len(trials))


def _written(work: Callable[[], object]) -> set[int]:
    """Give the pages that a child writes to during some work, and those that this process writes to meanwhile."""
    places = list(_writable())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            found = _copied(places)
            os.write(writer, struct.pack(f"={len(found)}Q", *found))
            os.close(writer)
            signal.pause()  # as long as it lives, pages are shared, so that this process's own copies stand out
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        theirs = pipe.read()
    if not theirs:
        os.waitpid(child, 0)
        raise OSError("a trial did not come to its end")  # and now no page is shared
    ours = _copied(places)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {*ours, *(page for (page,) in struct.iter_unpack("=Q", theirs))}


def pin(ring: int, pages: Sequence[int]) -> int:
    """Have every later fork copy these pages.

    Args:
        ring: from `ring`; closed.
        pages: their numbers, in order.

    Returns:
        how many are pinned: all, or none where the kernel refuses (RLIMIT_MEMLOCK).
    """
    runs = list(_runs(pages))
    vectors = (ctypes.c_size_t * (2 * len(runs)))(*(n * mmap.PAGESIZE for run in runs for n in run))
    refused = _LIBC.syscall(ctypes.c_long(_IO_URING_REGISTER), ring, _REGISTER_BUFFERS, vectors, len(runs))
    if not refused:
        # A mapping keeps the ring, and with it the pins, for as long as this process lives; no child gets the mapping.
        size = ctypes.c_size_t(mmap.PAGESIZE)
        kept = ctypes.c_void_p(_LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, ring, ctypes.c_long(0)))
        refused = kept.value == _MAP_FAILED or _LIBC.madvise(kept, size, _MADV_DONTFORK)
    os.close(ring)
    return 0 if refused else len(pages)


def _writable() -> Iterator[tuple[int, int]]:
    """Give first page and number of pages of each part of memory that is this process's own to write to."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, access, *_ = line.split()
            if access == "rw-p":
                start, end = (int(address, 16) // mmap.PAGESIZE for address in addresses.split("-"))
                yield start, end - start


def _copied(places: list[tuple[int, int]]) -> list[int]:
    """Give the pages that no other process shares."""
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
    parts = [os.pread(pagemap, 8 * count, 8 * first) for first, count in places]
    os.close(pagemap)
    flags = _PRESENT | _OF_A_FILE | _EXCLUSIVE
    return [
        first + number
        for (first, _), part in zip(places, parts, strict=True)
        for number, (entry,) in enumerate(struct.iter_unpack("=Q", part))
        if entry & flags == _PRESENT | _EXCLUSIVE
    ]


def _runs(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Join page numbers, in order, to runs: the first, and how many follow on one another."""
    first = count = 0
    for page in pages:
        if count and page == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = page, 1
    if count:
        yield first, count
