"""Which tasks trackers are shown: a few of each kind, a few times in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from azr.selfplay.records import StepRecord
from azr.selfplay.rewards import mean
from azr.train.trackers.base import SampleTask
from azr.types import Kind, Task

TIMES = 10
"""How often in a run."""
EACH = 2
"""Tasks of a kind."""


def is_due(step: int, steps: int) -> bool:
    """Whether tasks are shown after this step: `TIMES` times, the last step included."""
    every = max(1, steps // TIMES)
    return step % every == 0 or step == steps


def sample_tasks(record: StepRecord, show: Callable[[Task], str]) -> Iterator[SampleTask]:
    """The first tasks of each kind that a step admitted.

    Args:
        record: of the step.
        show: writes a task for people, as its domain does.
    """
    rewards = {rollout.id: rollout.reward for rollout in record.rollouts}
    admitted = {task.id for task in record.admitted}
    seen: dict[Kind, int] = {}
    for episode in record.episodes:
        task = episode.task
        if task is not None and task.id in admitted and seen.get(task.kind, 0) < EACH:
            seen[task.kind] = seen.get(task.kind, 0) + 1
            rate = mean(episode.attempts.scores) if episode.attempts else None
            yield SampleTask(task.kind, show(task), rate, rewards.get(episode.id))
