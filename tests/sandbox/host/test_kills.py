"""What comes of a job whose processes are killed: by the host at its deadline, or by others at any moment."""

import asyncio
import fcntl
import os
import resource
import signal
import struct
import sys
import termios
import time
from contextlib import contextmanager, suppress

import pytest
import pytest_asyncio

from azr.sandbox import Job, Limits, LocalSandbox, MemoSandbox, Mode, SandboxError
from azr.sandbox.guest.wire import HEADER, NONCE_BYTES
from azr.sandbox.host.remains import Left
from tests.sandbox.host.test_local import outcomes
from tests.sandbox.test_hostile import came_of, descendants

BRIEF = Limits(wall_seconds=0.3)


@pytest_asyncio.fixture(scope="module", params=["full", pytest.param("seccomp", marks=pytest.mark.slow)])
async def jail(request):
    sandbox = LocalSandbox(workers=1, tier=request.param)
    yield sandbox
    await sandbox.close()


@contextmanager
def held_up_after_each_read(seconds):
    """Have this thread lose its processor after each `os.read`, as it does where other threads compete for it."""

    def hold_up(_, event, function):
        if event in ("c_return", "c_exception") and function is os.read:
            time.sleep(seconds)

    sys.setprofile(hold_up)
    try:
        yield
    finally:
        sys.setprofile(None)


async def test_a_program_that_ends_just_after_the_deadline_gets_no_other_jobs_value(jail):
    """The deadline in the host is 0.55 s after the start; the other job waits in the same zygote."""
    late = (
        "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\nstart = time.monotonic()\n"
        "def f(x):\n    if x: time.sleep(max(0, start + x - time.monotonic()))\n    return 'late' + str(x)"
    )
    other = "import signal, time\ndef f(x):\n    time.sleep(x)\n    return 'other' + str(x)"
    await outcomes(jail, "import signal\ndef f(): pass")
    for seconds in ("0.58", "0.62"):
        with held_up_after_each_read(0.2):
            found, others = await asyncio.gather(
                outcomes(jail, late, "0", seconds, limits=BRIEF), outcomes(jail, other, "0", "1")
            )
        assert found[0] in ("'late0'", "timeout")
        assert found[1] in (f"'late{seconds}'", "timeout")
        assert others == ["'other0'", "'other1'"]


async def test_what_was_known_before_the_host_killed_a_program_is_kept(jail):
    program = "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\ndef f(x):\n    while x > 1: pass\n    return x"
    assert await outcomes(jail, program, "0", "1", "2", "0", limits=BRIEF) == ["0", "1", "timeout", "timeout"]


NONCE = b"12345678"


@pytest.mark.parametrize(
    ("results", "payload", "found"),
    [
        (b"", b"", None),
        (b"", NONCE, b""),
        (b"", NONCE + b"half", b"half"),
        (b"", b"87654321" + b"of another run", None),
        (b"", NONCE[:5], None),
        (HEADER.pack(0, 12, 0.0), NONCE + b"whole, and more", b"whol"),
        (HEADER.pack(0, 12, 0.0) + NONCE[:3], NONCE[3:] + b"whole", b"whol"),
        (HEADER.pack(0, 12, 0.0) + NONCE + b"whol", b"87654321of the next", b"whol"),
        (HEADER.pack(9, 0, 0.0), b"", None),
    ],
)
def test_only_bytes_that_begin_with_the_nonce_of_a_run_are_taken_for_its_own(results, payload, found):
    assert Left(results, payload).of_run(NONCE) == found


async def test_a_job_that_was_killed_is_not_remembered_though_it_wrote_all_its_outcomes(jail):
    """The program writes what our own code writes for the value 1, and goes on."""
    program = (
        "import os, signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
        "def f():\n    os.write(6, bytes([0, 1, 0, 0, 0, 0, 0, 0, 0]) + b'1')\n    while True: pass"
    )
    written = Job(program.replace("while True: pass", "os._exit(0)"))
    assert [came_of(outcome) for outcome in await jail.run(written)] == ["1"]
    memo = MemoSandbox(jail)
    assert [came_of(outcome) for outcome in await memo.run(Job(program, limits=BRIEF))] == ["1"]
    await memo.run(Job(program, limits=BRIEF))
    assert memo.hits == 0


# --- deaths that are nobody's fault ------------------------------------------------------------------------------


def zygotes(sandbox):
    return [zygote for fleet in sandbox._home._fleets.values() for zygote in fleet._zygotes]


async def until(condition):
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def kill(*processes):
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


async def test_descriptors_that_run_out_while_zygotes_are_replaced_cost_time_and_no_job(jail):
    await outcomes(jail, "def f(): return 1")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    guards = [zygote._channels.process.pid for zygote in zygotes(jail)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))  # no new one can be opened
    try:
        jobs = [asyncio.create_task(outcomes(jail, "def f(x): return x", str(n))) for n in range(10)]
        await asyncio.sleep(0)
        kill(*guards)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(jobs[-1]), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await asyncio.gather(*jobs) == [[str(n)] for n in range(10)]


async def test_zygotes_that_die_while_they_start_are_started_again(jail):
    await outcomes(jail, "def f(): return 1")
    killed = set()
    job = None
    for _ in range(3000):
        if len(killed) >= 5 * len(zygotes(jail)):
            break
        guards = {zygote._channels.process.pid for zygote in zygotes(jail) if zygote._channels}
        kill(*(guards - killed))
        killed |= guards
        job = job or asyncio.create_task(outcomes(jail, "def f(x): return x", "7"))
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("they were not started again")
    assert await job == ["7"]


async def test_a_fleet_that_could_not_be_started_is_tried_again_for_the_next_job():
    sandbox = LocalSandbox(workers=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(SandboxError, match="ulimit -n"):
            await outcomes(sandbox, "def f(): return 1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await outcomes(sandbox, "def f(): return 1") == ["1"]
    await sandbox.close()


def is_running(zygote, run):
    """Whether a child has taken a run: it has written the nonce, and its zygote has not moved that on."""
    if not (zygote._stands and zygote._runs and zygote._runs[0] is run):
        return False
    waiting = fcntl.ioctl(zygote._channels.payload, termios.FIONREAD, bytes(4))
    return struct.unpack("=i", waiting)[0] >= NONCE_BYTES


async def kill_while_it_runs(sandbox, times, family, mode=Mode.CALL):
    """Run a job, and kill processes of its zygote so many times while a child, or its script, is at it."""
    program = "import time\ndef f(x):\n    time.sleep(x)\n    return x"
    if mode is Mode.SCRIPT:
        program = "import time\nx = input()\ntime.sleep(float(x))\nprint(x)"
    await outcomes(sandbox, program, "0", mode=mode)
    job = asyncio.create_task(sandbox.run(Job(program, ("2", "0"), mode=mode, limits=Limits(wall_seconds=60))))
    (zygote,) = sandbox._home._fleets["script" if mode is Mode.SCRIPT else "full", 1]._zygotes
    below = 3 if mode is Mode.SCRIPT else 2  # zygote, child and script
    await until(lambda: zygote._runs)
    run = zygote._runs[0]
    for _ in range(times):
        await until(lambda: is_running(zygote, run) and len(descendants(zygote._channels.process.pid)) >= below)
        tries = run.tries
        kill(*family(zygote._channels.process.pid))
        await until(lambda: run.tries > tries or job.done())  # noqa: B023
    return await job


def the_guard_and_all(guard):
    return [guard, *descendants(guard)]


def the_child(guard):
    return descendants(guard)[-1:]


@pytest.mark.parametrize("family", [the_guard_and_all, the_child])
async def test_a_job_whose_process_is_killed_by_others_is_begun_again(jail, family):
    found = await kill_while_it_runs(jail, 3, family)
    assert [came_of(outcome) for outcome in found] == ["2", "0"]
    assert all(outcome.disturbed for outcome in found)


def the_supervisor(guard):
    return descendants(guard)[-2:-1]


@pytest.mark.parametrize("family", [the_guard_and_all, the_supervisor, the_child])
async def test_a_script_whose_process_or_supervisor_is_killed_by_others_is_begun_again(jail, family):
    found = await kill_while_it_runs(jail, 2, family, Mode.SCRIPT)
    assert [came_of(outcome) for outcome in found] == ["2\n", "0\n"]
    assert all(outcome.disturbed for outcome in found)


@pytest.mark.parametrize("family", [the_guard_and_all, the_child])
async def test_a_job_that_was_running_at_five_deaths_is_taken_for_their_cause(jail, family):
    found = await kill_while_it_runs(jail, 5, family)
    assert "crashed" in [came_of(outcome) for outcome in found]


async def test_deaths_before_a_job_was_begun_do_not_count(jail):
    """The job waits behind one that sleeps, in the pipe of a zygote that is killed as often as a run may die."""
    program = "import time\ndef f(x):\n    time.sleep(x)\n    return x"
    await outcomes(jail, program, "0")
    (zygote,) = jail._home._fleets["full", 1]._zygotes
    sleeper = asyncio.create_task(jail.run(Job(program, ("300",), limits=Limits(wall_seconds=600))))
    await until(lambda: len(zygote._runs) == 1)
    job = asyncio.create_task(outcomes(jail, program, "0"))
    await until(lambda: len(zygote._runs) == 2)
    head, behind = zygote._runs
    for _ in range(5):
        await until(lambda: is_running(zygote, head))
        guard = zygote._channels.process.pid
        kill(guard)
        await until(lambda: zygote._channels and zygote._channels.process.pid != guard)  # noqa: B023
    assert await job == ["0"]
    assert (head.deaths, behind.deaths) == (5, 0)
    assert [came_of(outcome) for outcome in await sleeper] == ["crashed"]


async def test_an_outcome_of_a_job_that_was_begun_again_is_not_remembered(jail):
    job = Job("import time\ndef f(x):\n    time.sleep(x)\n    return x", ("2",))
    memo = MemoSandbox(jail)
    await jail.run(Job(job.program, ("0",)))
    asked = asyncio.create_task(memo.run(job))
    (zygote,) = jail._home._fleets["full", 1]._zygotes
    await until(lambda: zygote._runs)
    kill(zygote._channels.process.pid)
    assert [came_of(outcome) for outcome in await asked] == ["2"]
    await memo.run(job)
    assert memo.hits == 0
    await memo.run(job)
    assert memo.hits == 1
