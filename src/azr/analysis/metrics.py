"""One line of metrics a step, all of it taken from what the step's events say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azr.analysis import novelty
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.records import Episode, StepRecord
from azr.selfplay.rewards import learnability
from azr.types import Kind, Role, Task


def step_metrics(
    record: StepRecord,
    buffer: TaskBuffer,
    kinds: Sequence[Kind],
    advantages: Sequence[NDArray[np.float64]],
    learner: Mapping[str, float],
    trivial: Callable[[Task], str | None],
) -> dict[str, Any]:
    """Metrics of one step.

    Returns:
        step, by kind (valid, solve_rate, learnability, reasons, buffer, answers), rewards and lengths by role,
        diversity and signal (`azr.analysis.novelty`), the learner's own, and alarms in words. Without any times.
    """
    tasks = [episode.task for episode in record.episodes if episode.task is not None]
    rates = [
        fmean(episode.attempts.scores) for episode in record.episodes if episode.task is not None and episode.attempts
    ]
    measures = novelty.diversity(tasks, [trivial(task) for task in tasks], buffer) | novelty.signal(rates, advantages)
    for name in ("novelty", "complexity"):
        if values := [episode.intrinsic[name] for episode in record.episodes if episode.task is not None]:
            measures[name] = fmean(values)
    return {
        "step": record.step,
        "kinds": {kind: _kind_metrics(kind, record, buffer) for kind in kinds},
        "roles": {role: _role_metrics(role, record) for role in Role},
        "signal": measures,
        "learner": dict(learner),
        "alarms": novelty.alarms(measures),
    }


def _kind_metrics(kind: Kind, record: StepRecord, buffer: TaskBuffer) -> dict[str, Any]:
    episodes = [episode for episode in record.episodes if episode.prompt.kind == kind]
    accepted = [episode.attempts for episode in episodes if episode.task is not None and episode.attempts]
    attempts = [attempts for attempts in record.attempts() if attempts.task.kind == kind]
    return {
        "valid": sum(episode.task is not None for episode in episodes) / len(episodes) if episodes else None,
        "solve_rate": _mean([score for made in attempts for score in made.scores]),
        "learnability": _mean([learnability(made.scores) for made in accepted]),
        "proposals": _reasons(episodes),
        "answers": dict(Counter(verdict.reason for made in attempts for verdict in made.verdicts).most_common()),
        "buffer": buffer.size(kind),
    }


def _role_metrics(role: Role, record: StepRecord) -> dict[str, float | None]:
    rollouts = [rollout for rollout in record.rollouts if rollout.cell[0] == role]
    return {
        "reward": _mean([rollout.reward for rollout in rollouts]),
        "tokens": _mean([float(count) for rollout in rollouts if (count := rollout.sample.tokens) is not None]),
        "unfinished": _mean([float(not rollout.sample.finished) for rollout in rollouts]),
        "rollouts": len(rollouts),
    }


def _reasons(episodes: Sequence[Episode]) -> dict[str, int]:
    return dict(Counter(episode.proposal.verdict.reason for episode in episodes).most_common())


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
