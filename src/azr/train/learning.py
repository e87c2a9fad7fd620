"""From a step's rollouts to an update of the policy: penalties, values, advantages, the learner's steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from azr.algorithms.advantages import Estimate
from azr.algorithms.registry import ALGORITHMS
from azr.config import AlgorithmConfig
from azr.learn.base import Learner, Trace, TrainSample, UpdateStopped
from azr.run.events import Event, learning_events
from azr.run.tokens import token_events
from azr.train.stopping import Stop, Stopped
from azr.types import Rollout


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a step's update did.

    Attributes:
        rollouts: what was learnt from.
        metrics: the learner's.
        penalties: what the divergence took off each rollout's reward.
        estimates: advantages and baseline of each rollout.
        traces: what the learner's passes saw of each rollout; empty unless they were asked for.
    """

    rollouts: Sequence[Rollout]
    metrics: Mapping[str, float]
    penalties: Sequence[float]
    estimates: Sequence[Estimate]
    traces: Sequence[Sequence[Trace]]

    @property
    def advantages(self) -> list[NDArray[np.float64]]:
        """Of each rollout's tokens [T]."""
        return [estimate.advantages_T for estimate in self.estimates]

    def events(self, step: int) -> Iterator[Event]:
        """The events that tell of it."""
        yield from learning_events(step, self.rollouts, self.penalties, self.estimates, self.metrics)
        if self.traces:
            yield from token_events(step, self.rollouts, self.advantages, self.traces)


async def learn(
    learner: Learner, rollouts: Sequence[Rollout], algorithm: AlgorithmConfig, *, traced: bool, stop: Stop
) -> Learnt:
    """Update the policy with a step's rollouts, one at least.

    Args:
        learner: of the policy.
        rollouts: judged.
        algorithm: how advantages are made.
        traced: whether traces are wanted, for token events.
        stop: abandons the update if no weight has moved yet.

    Raises:
        Stopped: it was abandoned.
        FloatingPointError: see `PolicyLearner.update`.
    """
    samples = [TrainSample.of(rollout.sample) for rollout in rollouts]
    penalties: list[float] = (await stop.unless(learner.penalties(samples))).tolist()
    compared = [replace(r, reward=r.reward - penalty) for r, penalty in zip(rollouts, penalties, strict=True)]
    values = await stop.unless(learner.values(samples))
    estimates = ALGORITHMS[algorithm.name].estimate(compared, algorithm, values)
    samples = [
        replace(
            sample,
            advantages_T=estimate.advantages_T,
            values_T=None if values is None else values[i],
            returns_T=estimate.returns_T,
        )
        for i, (sample, estimate) in enumerate(zip(samples, estimates, strict=True))
    ]
    try:
        result = await learner.update(samples, traced=traced, stopping=lambda: stop.asked)
    except UpdateStopped:
        raise Stopped from None
    metrics = dict(result.metrics) | ({"penalty": fmean(penalties)} if any(penalties) else {})
    return Learnt(rollouts, metrics, penalties, estimates, result.traces)
