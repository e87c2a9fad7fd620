"""A fork of the host has a copy of its sandbox: it is told so, and can do nothing to the processes of the host."""

import asyncio
import gc
import os
import subprocess
import sys
import traceback

import pytest

from azr.sandbox import Job, LocalSandbox, SandboxError
from tests.sandbox.test_hostile import came_of, descendants

SLEEPER = Job("import time\ndef f(x):\n    time.sleep(x)\n    return x", ("0.7",))


@pytest.fixture
async def sandbox():
    sandbox = LocalSandbox(workers=1)
    await sandbox.run(Job("import signal\ndef f(): return 1"))
    yield sandbox
    await sandbox.close()


async def value(sandbox, number):
    (outcome,) = await sandbox.run(Job("def f(x): return x", (str(number),)))
    return came_of(outcome)


def in_a_fork(child):
    """Run a function in a fork of this process; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def refused(sandbox):
    with pytest.raises(SandboxError, match=f"belongs to process {os.getppid()}") as refusal:
        asyncio.run(sandbox.run(Job("def f(): return 1")))
    assert "\n" not in str(refusal.value)


def closed(sandbox):
    asyncio.run(sandbox.close())


def closed_and_used(sandbox):
    async def anew():
        await sandbox.close()
        assert await value(sandbox, 5) == "5"
        await sandbox.close()

    asyncio.run(anew())


def dropped(sandbox):
    sandbox._home = None
    gc.collect()


@pytest.mark.parametrize("use", [refused, closed, closed_and_used, dropped])
async def test_what_a_fork_does_with_a_sandbox_leaves_the_jobs_of_its_parent_alone(use, sandbox):
    processes = descendants()
    job = asyncio.create_task(sandbox.run(SLEEPER))
    await asyncio.sleep(0.2)
    assert in_a_fork(lambda: use(sandbox))
    assert [came_of(outcome) for outcome in await asyncio.wait_for(job, 60)] == ["0.7"]
    assert await asyncio.gather(*(value(sandbox, n) for n in range(9))) == [str(n) for n in range(9)]
    assert set(processes[:-1]) & set(descendants())


async def test_a_fork_that_goes_on_in_the_same_loop_takes_nothing_out_of_the_pipes(sandbox):
    job = asyncio.create_task(sandbox.run(SLEEPER))
    await asyncio.sleep(0.2)
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if pid == 0:
        try:
            later = loop.create_future()
            loop.call_later(1.5, later.set_result, None)
            await later  # meanwhile its copy of the loop hears of the same pipes
            try:
                await sandbox.run(SLEEPER)
            except SandboxError:
                os._exit(0)
        finally:
            os._exit(1)
    assert [came_of(outcome) for outcome in await asyncio.wait_for(job, 60)] == ["0.7"]
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
    assert await value(sandbox, 3) == "3"


def test_a_fork_that_ends_as_programs_do_leaves_the_processes_of_its_parent_alone():
    program = """
import asyncio, os, sys
from azr.sandbox import Job, LocalSandbox
async def main():
    sandbox = LocalSandbox(workers=1)
    job = asyncio.create_task(sandbox.run(Job("import time\\ndef f():\\n    time.sleep(1)\\n    return 'whole'")))
    await asyncio.sleep(0.8)
    if os.fork() == 0:
        sys.exit()  # unwinds, runs atexit and collects garbage
    os.wait()
    print(*await job)
    await sandbox.close()
asyncio.run(main())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "'whole'" in found.stdout, found.stderr
