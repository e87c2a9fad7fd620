"""Steps that begin while the learner works: when they may, and that they play the same."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.errors import UserError
from azr.train.ahead import Player
from tests.selfplay.test_selfplay import make

STEPS = 5


class Record:
    """Plays steps that end when they are told to, and notes when each begins."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.buffer = self
        self.shapes = frozenset[str]()

    def copy(self):
        return self

    async def step(self, step: int):
        self.begun.append(step)
        await asyncio.sleep(0)
        if step == 4:
            raise UserError("step 4 cannot be played")
        return step


@given(st.integers(0, 4))
def test_a_step_begins_once_the_one_that_far_before_it_was_asked_for(ahead: int):
    async def play() -> None:
        selfplay = Record()
        player = Player(selfplay, ahead=ahead, last=3)
        for step in (1, 2, 3):
            assert (await player.take(step)).record == step
            for _ in range(20):  # the learner works
                await asyncio.sleep(0)
            assert selfplay.begun == [*range(1, min(3, step + ahead) + 1)]

    asyncio.run(play())


async def test_what_ends_a_step_that_was_begun_early_is_raised_when_it_is_asked_for():
    player = Player(Record(), ahead=3, last=STEPS)
    for step in (1, 2, 3):
        await player.take(step)
    with pytest.raises(UserError, match="step 4 cannot be played"):
        await player.take(4)
    await player.abandon()


async def test_an_abandoned_step_can_be_played_again():
    selfplay = Record()
    player = Player(selfplay, ahead=2, last=3)
    await player.take(1)
    await player.abandon()
    assert (await player.take(2)).record == 2


async def test_playing_ahead_plays_the_same_steps(sandbox):
    found = []
    for ahead in (0, 2):
        selfplay = make(sandbox)
        player = Player(selfplay, ahead=ahead, last=STEPS)
        played = [await player.take(step) for step in range(1, STEPS + 1)]
        found.append([([rollout.id for rollout in p.record.rollouts], p.known, [*p.buffer.dump()]) for p in played])
        assert all(before.buffer.shapes == after.known for before, after in pairwise(played))
    assert found[0] == found[1]


async def test_a_buffer_is_left_as_it_was_when_its_step_ended(sandbox):
    selfplay = make(sandbox)
    start = selfplay.buffer
    before = [*start.dump()]
    player = Player(selfplay, ahead=1, last=3)
    first = await player.take(1)
    after = [*first.buffer.dump()]
    await player.take(2)
    await player.take(3)
    assert [*start.dump()] == before
    assert [*first.buffer.dump()] == after != before
