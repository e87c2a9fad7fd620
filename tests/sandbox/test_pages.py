"""Pages that children write to: found by trial, pinned, and then copied by the fork; a sandbox that may pin none works."""

import ctypes
import json
import mmap
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from azr.sandbox import Job, LocalSandbox, pages

NEEDS_RING = pytest.mark.skipif((probe := pages.ring()) is None, reason="this kernel has no io_uring for us")
if probe is not None:
    os.close(probe)


@pytest.fixture
def memory():
    """Eight pages that exist, and the number of the first."""
    memory = mmap.mmap(-1, 8 * mmap.PAGESIZE, mmap.MAP_PRIVATE)
    memory.write(b"x" * len(memory))
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory)) // mmap.PAGESIZE


def write_to(memory, *numbers):
    for number in numbers:
        memory[number * mmap.PAGESIZE] = 1


def within(memory, found):
    return [page - memory[1] for page in found if 0 <= page - memory[1] < 8]


def in_a_child(work):
    """Give what work returns in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as pipe:
        return json.loads(pipe.read())


def test_pages_that_at_least_half_of_the_trials_write_to_are_found(memory):
    trials = [partial(write_to, memory[0], *numbers) for numbers in ((2, 3), (3, 5), (3, 5, 6), (3,))]
    assert within(memory, pages.written_by_most(trials)) == [3, 5]


def test_a_trial_that_fails_counts_for_no_page_of_its_own(memory):
    def fail():
        write_to(memory[0], 4)
        raise OSError

    assert within(memory, pages.written_by_most([fail])) == []


@NEEDS_RING
def test_a_fork_copies_pinned_pages_and_shares_the_others(memory):
    first = memory[1]
    assert pages.pin(pages.ring(), [first + 1, first + 2, first + 6]) == 3
    assert within(memory, in_a_child(lambda: pages._copied([(first, 8)]))) == [1, 2, 6]


@NEEDS_RING
def test_a_child_gets_neither_the_ring_nor_a_descriptor_of_it(memory):
    def traces():
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        open_files = [os.readlink(link) for link in links if os.path.lexists(link)]  # all but that of the list itself
        return sum("io_uring" in text for text in (*open_files, Path("/proc/self/maps").read_text()))

    pages.pin(pages.ring(), [memory[1]])
    assert "io_uring" in Path("/proc/self/maps").read_text()
    assert in_a_child(traces) == 0


@NEEDS_RING
def test_nothing_is_pinned_where_the_kernel_refuses_and_the_ring_is_closed(memory):
    ring = pages.ring()
    assert pages.pin(ring, [8]) == 0  # no memory of ours is there
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ring)


@NEEDS_RING
@pytest.mark.parametrize("tier", ["full", "seccomp"])
async def test_the_zygotes_of_each_tier_pin_pages(tier):
    sandbox = LocalSandbox(workers=1, tier=tier)
    await sandbox.run(Job("def f(): return 1"))
    assert sandbox._home._fleets["lean", 1].hello["pinned"] > 50
    await sandbox.close()


def test_where_io_uring_is_refused_the_sandbox_works_as_ever():
    pytest.importorskip("pyseccomp")
    code = """
import asyncio, errno, pyseccomp
from azr.sandbox import Job, LocalSandbox
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "io_uring_setup")
rules.load()
async def main():
    sandbox = LocalSandbox(workers=1)
    print(*[outcome.value for outcome in await sandbox.run(Job("def f(x): return x + 1", ("41",)))])
    print(sandbox._home._fleets["lean", 1].hello["pinned"])
    await sandbox.close()
asyncio.run(main())
"""
    assert subprocess.check_output([sys.executable, "-c", code]).split() == [b"42", b"0"]
