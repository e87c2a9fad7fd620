"""Coroutines that run together."""

from __future__ import annotations

import asyncio

import pytest

from azr.concurrency import Latch, current_member, gather
from azr.errors import UserError


async def test_results_come_in_the_order_of_the_coroutines():
    async def value(delay, result):
        await asyncio.sleep(delay)
        return result

    assert await gather([value(0.02, "a"), value(0.0, "b")]) == ["a", "b"]


async def test_the_first_failure_is_raised_itself_and_ends_the_others():
    ended = []

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def fails():
        await asyncio.sleep(0)
        raise UserError("no model")

    with pytest.raises(UserError, match="no model"):
        await gather([waits(), fails()])
    assert ended == ["cancelled"]


async def test_coroutines_that_are_gathered_within_one_another_are_one_crew():
    async def inner():
        return current_member().crew

    async def outer():
        return [current_member().crew, *await gather([inner(), inner()])]

    crews = await gather([outer(), inner()])
    assert len({id(crew) for crew in [*crews[0], crews[1]]}) == 1
    assert current_member() is None


async def test_a_crew_waits_only_when_none_of_its_members_is_at_work_elsewhere():
    answer = asyncio.get_running_loop().create_future()
    seen = []

    async def asks():
        member = current_member()
        member.answers.add(answer)
        seen.append(member.crew.waits())
        await asyncio.sleep(0.02)
        seen.append(member.crew.waits())

    async def works():
        await asyncio.sleep(0)

    await gather([works(), asks()])
    assert seen == [False, True]


async def test_whoever_watches_a_crew_is_called_when_a_member_ends():
    calls = []

    async def watched():
        current_member().crew.watchers.add(lambda: calls.append(1))

    await gather([watched(), asyncio.sleep(0.01)])
    await asyncio.sleep(0)
    assert len(calls) == 2


async def test_a_latch_opens_at_the_last_event():
    latch, seen = Latch(2), []

    async def waits():
        await latch.wait()
        seen.append("open")

    async def arrives():
        for _ in range(2):
            await asyncio.sleep(0)
            seen.append("event")
            latch.arrive()

    await gather([waits(), arrives()])
    await latch.wait()
    assert seen == ["event", "event", "open"]


async def test_a_member_at_a_latch_waits_with_its_crew_until_the_latch_opens():
    latch, seen = Latch(1), []

    async def at_the_latch():
        await latch.wait()

    async def asks():
        member = current_member()
        member.answers.add(asyncio.get_running_loop().create_future())
        await asyncio.sleep(0)
        seen.append(member.crew.waits())
        latch.arrive()
        seen.append(member.crew.waits())

    await gather([at_the_latch(), asks()])
    assert seen == [True, False]


async def test_a_member_is_busy_from_the_end_of_its_last_nested_one():
    waits = []

    async def outer():
        crew = current_member().crew
        crew.watchers.add(lambda: waits.append(crew.waits()))
        await gather([asyncio.sleep(0)])

    await gather([outer()])
    assert waits == [False, True]  # when the nested one has ended, and when `outer` has


async def test_whoever_watches_a_crew_is_called_when_a_member_waits_at_a_latch():
    calls, latch = [], Latch(1)

    async def waits():
        current_member().crew.watchers.add(lambda: calls.append(current_member().crew.waits()))
        await latch.wait()

    async def opens():
        await asyncio.sleep(0)
        assert calls == [False]  # this one is busy
        latch.arrive()

    await gather([waits(), opens()])
