"""The update of the policy from a step's rollouts: penalties, values, advantages, optimizer steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from azr.algorithms.advantages import Estimate
from azr.algorithms.registry import estimates as estimate
from azr.config import AlgorithmConfig
from azr.learn.base import Learner, Trace, TrainSample, UpdateStopped
from azr.run.events import Event, learning_events, token_events
from azr.train.stopping import Stop, Stopped
from azr.types import Demonstration, Rollout


@dataclass(frozen=True, slots=True)
class Learnt:
    """The update of a step.

    It has the rollouts, the learner's metrics, and for each rollout the penalty on its reward for its divergence, the
    estimate of its advantages, and the traces of the learner's passes (empty unless requested).
    """

    rollouts: Sequence[Rollout]
    metrics: Mapping[str, float]
    penalties: Sequence[float]
    estimates: Sequence[Estimate]
    traces: Sequence[Sequence[Trace]]

    def events(self, step: int) -> Iterator[Event]:
        """The events of the update."""
        yield from learning_events(step, self.rollouts, self.penalties, self.estimates, self.metrics)
        if self.traces:
            advantages = [estimate.advantages_T for estimate in self.estimates]
            yield from token_events(step, self.rollouts, advantages, self.traces)


async def learn(
    learner: Learner,
    rollouts: Sequence[Rollout],
    algorithm: AlgorithmConfig,
    *,
    shown: Sequence[Demonstration] = (),
    traced: bool,
    stop: Stop,
) -> Learnt:
    """Update the policy with a step's rollouts, at least one; with `traced`, keep traces for token events.

    The answers that are `shown` to the policy are part of the same minibatches, at the advantages that they come with.

    `stop` abandons the update if no weight has moved yet.

    Raises:
        Stopped: the update was abandoned.
        FloatingPointError: see `PolicyLearner.update`.
    """
    samples = [TrainSample.of(rollout.sample) for rollout in rollouts]
    penalties: list[float] = (await stop.unless(learner.penalties(samples))).tolist()
    compared = [replace(r, reward=r.reward - penalty) for r, penalty in zip(rollouts, penalties, strict=True)]
    values = await stop.unless(learner.values(samples))
    estimates = estimate(algorithm, compared, values)
    values_by_row = [None] * len(samples) if values is None else values
    samples = [
        replace(sample, advantages_T=estimate.advantages_T, values_T=values_T, returns_T=estimate.returns_T)
        for sample, estimate, values_T in zip(samples, estimates, values_by_row, strict=True)
    ]
    samples += await stop.unless(learner.read(shown)) if shown else ()
    try:
        result = await learner.update(samples, traced=traced, stopping=lambda: stop.asked)
    except UpdateStopped:
        raise Stopped from None
    metrics = dict(result.metrics) | ({"penalty": fmean(penalties)} if any(penalties) else {})
    return Learnt(rollouts, metrics, penalties, estimates, result.traces[: len(rollouts)])
