"""The two wall clocks: the child's own, and the host's for programs that stop it."""

import pytest

from azr.sandbox.base import Job, Limits, Reason
from azr.sandbox.host.local import LocalSandbox

BRIEF = Limits(wall_seconds=0.1, cpu_seconds=5)
STOPS = ("signal.setitimer(signal.ITIMER_REAL, 0)", "signal.signal(signal.SIGALRM, signal.SIG_IGN)")


def zygote(sandbox: LocalSandbox) -> int:
    (only,) = sandbox._home._fleets["full", 1]._zygotes
    return only._channels.process.pid


async def outcome(sandbox: LocalSandbox, before: str = "pass"):
    program = f"import signal\n{before}\ndef f():\n    while True:\n        pass"
    (found,) = await sandbox.run(Job(program, limits=BRIEF))
    return found


@pytest.fixture
async def single():
    sandbox = LocalSandbox(workers=1)
    yield sandbox
    await sandbox.close()


async def test_a_child_that_runs_out_of_time_leaves_its_zygote_alone(single):
    await single.run(Job("import signal\ndef f(): return 1"))
    before = zygote(single)
    assert (await outcome(single)).reason == Reason.TIMEOUT
    assert zygote(single) == before


@pytest.mark.parametrize("stop", STOPS)
async def test_a_program_that_stops_its_own_clock_is_ended_by_the_hosts(single, stop):
    await single.run(Job("import signal\ndef f(): return 1"))
    before = zygote(single)
    assert (await outcome(single, stop)).reason == Reason.TIMEOUT
    assert zygote(single) != before
