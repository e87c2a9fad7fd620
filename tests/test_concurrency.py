"""Coroutines that run together, and how many threads arithmetic gets."""

from __future__ import annotations

import asyncio
import os

import pytest

from azr.concurrency import SMALL, current_member, gather, threads
from azr.errors import UserError


def test_the_users_number_of_threads_is_taken(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads(SMALL) == threads(1) == 7


def test_a_small_model_computes_on_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL - 1) == 1


@pytest.mark.parametrize("asked", [None, "", "0", "4,2"])
def test_else_there_is_one_thread_a_core_of_this_process(monkeypatch, asked):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL) == 3


def test_a_machine_that_cannot_pin_processes_has_all_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert threads(SMALL) == 10


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
