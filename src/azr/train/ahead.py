"""Playing steps ahead of the learner: the rollouts of the next ones begin while it works."""

import asyncio
import time
from collections.abc import Set
from dataclasses import dataclass

from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.records import StepRecord
from azr.selfplay.step import SelfPlay


@dataclass(frozen=True, slots=True)
class Played:
    """A step that was played.

    Attributes:
        record: what happened.
        known: shapes of the tasks that were in the buffer before it.
        buffer: the tasks after it; later steps work on copies.
        seconds: how long it took.
    """

    record: StepRecord
    known: Set[str]
    buffer: TaskBuffer
    seconds: float


class Player:
    """Plays steps in their order, up to `ahead` of the one that was asked for last.

    With `ahead = k`, step n begins at the earliest when step n - k is asked for, which is after update n - k - 1. Its
    samples are then at most k updates older than they would be if every step waited for the update before.

    Args:
        selfplay: plays; the buffer that it has when a step begins is left as it is.
        ahead: 0: a step is played when it is asked for.
        last: the run's last step.
    """

    def __init__(self, selfplay: SelfPlay, *, ahead: int, last: int) -> None:
        self._selfplay, self._ahead, self._last = selfplay, ahead, last
        self._tasks: dict[int, asyncio.Task[Played]] = {}

    async def take(self, step: int) -> Played:
        """Play a step, or wait for it if it has begun, and let the next ones begin.

        Raises:
            Exception: whatever playing the step, or one before it, raised.
        """
        for number in range(step, min(step + self._ahead, self._last) + 1):
            if number not in self._tasks:
                self._tasks[number] = asyncio.create_task(self._play(number, self._tasks.get(number - 1)))
        played = await self._tasks[step]
        del self._tasks[step]
        return played

    async def abandon(self) -> None:
        """End whatever is being played. Safe to call twice."""
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _play(self, step: int, previous: asyncio.Task[Played] | None) -> Played:
        if previous is not None:
            await asyncio.shield(previous)
        selfplay, begin = self._selfplay, time.perf_counter()
        selfplay.buffer = selfplay.buffer.copy()
        known = selfplay.buffer.shapes
        record = await selfplay.step(step)
        return Played(record, known, selfplay.buffer, time.perf_counter() - begin)
