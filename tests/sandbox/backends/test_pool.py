"""Several sandbox servers as one: how load is shared, and what happens when servers die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.sandbox import Job, LocalSandbox, Outcome, RemoteSandbox, SandboxError, UnsafeSubprocessSandbox
from azr.sandbox.backends.pool import LostServerError, Pool
from tests.sandbox.serving import Kept, served

BRIEF = "import time\ndef f(x):\n    time.sleep(0.02)\n    return x * x"


def squares(count: int) -> list[Job]:
    return [Job(BRIEF, (str(number),)) for number in range(count)]


async def run_all(box: RemoteSandbox, jobs: list[Job]) -> list[str | None]:
    return [outcome.value for (outcome,) in await asyncio.gather(*(box.run(job) for job in jobs))]


def pool(*urls: str, **options) -> RemoteSandbox:
    return RemoteSandbox(url=urls, **{"attempts": 3, "backoff_seconds": 0.01, **options})


async def used(sandbox: Kept) -> None:
    """Wait until a sandbox runs a job."""
    while not sandbox.running:  # noqa: ASYNC110 (what runs the jobs sets no event)
        await asyncio.sleep(0.005)


@pytest_asyncio.fixture(scope="module")
async def local() -> AsyncIterator[LocalSandbox]:
    sandbox = LocalSandbox(workers=1)
    yield sandbox
    await sandbox.close()


async def test_load_is_shared_and_no_server_gets_more_than_it_takes(local: LocalSandbox) -> None:
    one, other = Kept(local), Kept(local)
    async with served(one, capacity=2) as first, served(other, capacity=4) as second:
        box = pool(first.url, second.url)
        await box.meet()
        one.jobs = other.jobs = one.peak = other.peak = 0
        assert await run_all(box, squares(30)) == [str(number**2) for number in range(30)]
        await box.close()
    assert (one.peak, other.peak) == (2, 4)
    assert one.jobs + other.jobs == 30
    assert one.jobs < other.jobs


async def test_a_job_goes_to_the_server_with_the_fewest(local: LocalSandbox) -> None:
    one, other = Kept(local), Kept(local)
    async with served(one, capacity=4) as first, served(other, capacity=4) as second:
        box = pool(first.url, second.url)
        await box.meet()
        one.jobs = other.jobs = 0
        await run_all(box, squares(4))
        await box.close()
    assert (one.jobs, other.jobs) == (2, 2)


async def test_the_jobs_of_a_server_that_dies_are_run_elsewhere(local: LocalSandbox, capsys) -> None:
    dying = Kept(local)
    async with served(dying) as first, served(Kept(local)) as second:
        box = pool(first.url, second.url)
        await box.meet()
        jobs = asyncio.create_task(run_all(box, squares(30)))
        await used(dying)
        await first.runner.cleanup()
        assert await jobs == [str(number**2) for number in range(30)]
        await box.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"azr: the sandbox server at {first.url} is lost (")


async def test_if_all_servers_die_all_jobs_fail_with_one_line(local: LocalSandbox) -> None:
    dying = Kept(local)
    async with served(dying) as first, served(Kept(local)) as second:
        box = pool(first.url, second.url)
        await box.meet()
        jobs = [asyncio.create_task(box.run(job)) for job in squares(30)]
        await used(dying)
        await asyncio.gather(first.runner.cleanup(), second.runner.cleanup())
        failures = [one for one in await asyncio.gather(*jobs, return_exceptions=True) if isinstance(one, Exception)]
        await box.close()
    assert failures
    for failure in failures:
        assert isinstance(failure, SandboxError)
        assert f"no sandbox server is left ({first.url}: " in str(failure)
        assert f"; {second.url}: " in str(failure)
        assert "azr train --resume RUN" in str(failure)
        assert "\n" not in str(failure)


async def test_a_server_that_does_not_answer_at_the_start_is_left_out(local: LocalSandbox, capsys) -> None:
    async with served(Kept(local)) as first:
        async with served(Kept(local)) as gone:
            pass
        box = pool(first.url, gone.url)
        assert await run_all(box, squares(3)) == ["0", "1", "4"]
        assert [server.url for server in await box.meet()] == [first.url]
        await box.close()
    assert f"azr: the sandbox server at {gone.url} is lost (All connection attempts failed)" in capsys.readouterr().err


async def test_a_server_that_comes_back_gets_jobs_again(local: LocalSandbox, capsys) -> None:
    async with served(Kept(local)) as first, AsyncExitStack() as later:
        async with served(Kept(local)) as second:
            box = pool(first.url, second.url)
            await box.meet()
        assert await run_all(box, squares(10)) == [str(number**2) for number in range(10)]
        back = Kept(local)
        await later.enter_async_context(served(back, port=httpx.URL(second.url).port))
        while len(await box.meet()) < 2:
            await run_all(box, squares(2))
        back.jobs = 0
        await run_all(box, squares(10))
        await box.close()
    assert back.jobs > 0
    assert f"azr: the sandbox server at {second.url} is back" in capsys.readouterr().err


async def test_a_server_that_comes_back_without_isolation_gets_no_jobs(local: LocalSandbox, capsys) -> None:
    async with served(Kept(local)) as first, AsyncExitStack() as later:
        async with served(Kept(local)) as second:
            box = pool(first.url, second.url)
            await box.meet()
        unsafe = Kept(UnsafeSubprocessSandbox(allow_unsafe=True))
        await later.enter_async_context(served(unsafe, port=httpx.URL(second.url).port))
        said = ""
        while BRIEF not in unsafe.programs and "it gets no jobs" not in said:
            await run_all(box, squares(2))
            said += capsys.readouterr().err
        await run_all(box, squares(10))
        assert [server.url for server in await box.meet()] == [first.url]
        await box.close()
    assert BRIEF not in unsafe.programs
    assert " is back" not in said
    assert "does not isolate programs" in said


async def test_a_job_that_is_abandoned_while_it_waits_takes_nobodys_place(local: LocalSandbox) -> None:
    async with served(Kept(local), capacity=1) as host:
        box = pool(host.url)
        await box.meet()
        jobs = [asyncio.create_task(box.run(job)) for job in squares(6)]
        await asyncio.sleep(0)
        for job in jobs[::2]:
            job.cancel()
        done = await asyncio.gather(*jobs, return_exceptions=True)
        assert [one[0].value for one in done[1::2]] == ["1", "9", "25"]
        assert await run_all(box, squares(3)) == ["0", "1", "4"]
        await box.close()


async def test_closing_ends_what_is_still_waited_for(local: LocalSandbox) -> None:
    async with served(Kept(local), capacity=1) as host:
        box = pool(host.url)
        await box.meet()
        jobs = [asyncio.create_task(box.run(job)) for job in squares(4)]
        await asyncio.sleep(0)
        await box.close()
        await box.close()
        ends = await asyncio.gather(*jobs, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError | SandboxError) for end in ends)


# --- any order of failures ---


class Flaky:
    """A server without a network: it fails when it is told to, and notes which jobs it has finished."""

    kind, python, isolation = "flaky", "3.11.7", "none"

    def __init__(self, url: str, fates: list[bool], capacity: int) -> None:
        self.url, self.capacity, self._fates = url, capacity, fates
        self.running, self.peak = 0, 0

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(0)
            if self._fates and self._fates.pop():
                raise LostServerError("told to")
            return (Outcome(job.inputs[0]),)
        finally:
            self.running -= 1

    async def ping(self, seconds: float) -> None:
        pass


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), max_size=8), min_size=1, max_size=3), st.integers(1, 3))
def test_every_job_gets_its_own_outcome_however_servers_fail(fates: list[list[bool]], capacity: int) -> None:
    servers = {f"http://{number}": Flaky(f"http://{number}", each, capacity) for number, each in enumerate(fates)}

    async def go() -> None:
        async def connect(url: str) -> Flaky:
            await asyncio.sleep(0)
            return servers[url]

        shared = Pool(list(servers), connect, attempts=30, backoff_seconds=0.0, silence_seconds=30.0)
        jobs = [Job("", (str(number),)) for number in range(20)]
        assert await asyncio.gather(*map(shared.run, jobs)) == [(Outcome(job.inputs[0]),) for job in jobs]
        await shared.close()
        assert all(member.outstanding == 0 for member in shared._members)

    asyncio.run(go())
    assert all(server.peak <= capacity for server in servers.values())


async def test_a_job_that_is_cancelled_when_its_turn_has_come_gives_it_back() -> None:
    server = Flaky("http://0", [], 1)

    async def connect(url: str) -> Flaky:
        return server

    shared = Pool([server.url], connect, attempts=1, backoff_seconds=0.0, silence_seconds=30.0)
    await shared.meet()

    async def before() -> None:
        await shared.run(Job("", ("1",)))
        waiting.cancel()  # it has been given the place, and has not run since

    first = asyncio.create_task(before())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(shared.run(Job("", ("2",))))
    await asyncio.wait([first, waiting])
    assert waiting.cancelled()
    assert shared._members[0].outstanding == 0
    assert await shared.run(Job("", ("3",))) == (Outcome("3"),)
    await shared.close()
