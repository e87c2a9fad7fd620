"""From a step's rollouts to an update of the policy: penalties, values, advantages, the learner's steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from azr.advantages import advantages as advantages_of
from azr.advantages import ppo
from azr.config import AlgorithmConfig
from azr.policy.base import Learner, Trace, TrainSample, UpdateStopped
from azr.run.events import Event, learning_events
from azr.run.tokens import token_events
from azr.stopping import Stop, Stopped
from azr.types import Rollout


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a step's update did.

    Attributes:
        rollouts: what was learnt from.
        metrics: the learner's.
        penalties: what the divergence took off each rollout's reward.
        advantages: of each rollout's tokens [T].
        traces: what the learner's passes saw of each rollout; empty unless they were asked for.
    """

    rollouts: Sequence[Rollout]
    metrics: Mapping[str, float]
    penalties: Sequence[float]
    advantages: Sequence[NDArray[np.float64]]
    traces: Sequence[Sequence[Trace]]

    def events(self, step: int) -> Iterator[Event]:
        """The events that tell of it."""
        yield from learning_events(step, self.rollouts, self.penalties, self.advantages, self.metrics)
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
    if values is None:
        advantages = [np.array(A_T) for A_T in advantages_of(compared, algorithm)]
        samples = [replace(s, advantages_T=A_T) for s, A_T in zip(samples, advantages, strict=True)]
    else:
        found, returns = ppo(compared, values, discount=algorithm.ppo.discount, gae_lambda=algorithm.ppo.gae_lambda)
        advantages = [np.array(A_T) for A_T in found]
        samples = [
            replace(sample, advantages_T=A_T, values_T=values_T, returns_T=np.array(returns_T))
            for sample, A_T, values_T, returns_T in zip(samples, advantages, values, returns, strict=True)
        ]
    try:
        result = await learner.update(samples, traced=traced, stopping=lambda: stop.asked)
    except UpdateStopped:
        raise Stopped from None
    metrics = dict(result.metrics) | ({"penalty": fmean(penalties)} if any(penalties) else {})
    return Learnt(rollouts, metrics, penalties, advantages, result.traces)
