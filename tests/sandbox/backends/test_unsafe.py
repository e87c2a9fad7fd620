"""What is the unsafe backend's own: that it is refused unless asked for, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from azr.sandbox import Job, Limits, Reason, SandboxError, UnsafeSubprocessSandbox


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_is_refused_unless_the_user_allows_it() -> None:
    with pytest.raises(SandboxError, match="'docker' or 'remote', or accept the risk") as error:
        UnsafeSubprocessSandbox()
    assert "\n" not in str(error.value)


async def test_kills_what_a_program_started() -> None:
    box = UnsafeSubprocessSandbox(allow_unsafe=True)
    program = """\
import os, time
def f():
    child = os.fork()
    if child == 0:
        time.sleep(600)
    return child"""
    # The child holds the pipe open: without the clock, its 600 seconds would be waited for.
    (outcome,) = await box.run(Job(program, ("",), limits=Limits(wall_seconds=0.5)))
    if os.getuid() != 0:
        assert outcome.error == "BlockingIOError"  # the limit on processes holds for all but root
    else:
        assert outcome.value is not None
        assert wait_until_gone(int(outcome.value))


async def test_a_cancelled_job_leaves_no_process() -> None:
    box = UnsafeSubprocessSandbox(allow_unsafe=True)
    reader, writer = os.pipe()
    # The program tells its number through this process's pipe: nothing keeps an unsafe program from that.
    tell = f"open('/proc/{os.getpid()}/fd/{writer}', 'wb', 0).write(str(os.getpid()).encode())"
    running = asyncio.create_task(box.run(Job(f"import os, time\ndef f():\n  {tell}\n  time.sleep(600)", ("",))))
    pid = int(await asyncio.to_thread(os.read, reader, 99))
    os.close(reader)
    os.close(writer)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert wait_until_gone(pid)


async def test_close_ends_the_jobs_that_still_run() -> None:
    box = UnsafeSubprocessSandbox(allow_unsafe=True)
    running = asyncio.create_task(box.run(Job("import time\ndef f(): time.sleep(600)", ("",))))
    await asyncio.sleep(0.3)
    await box.close()
    (outcome,) = await running
    assert outcome.reason is Reason.CRASHED
