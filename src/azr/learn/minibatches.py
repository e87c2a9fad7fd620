"""How an update divides its rollouts among optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from azr.learn.base import TrainSample
from azr.learn.loss import sequence_weights
from azr.learn.objective import Example, known
from azr.learn.packing import share_prompts

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig, LearnerConfig


def minibatches(samples: Sequence[TrainSample], config: LearnerConfig, *, seed: int, update: int) -> list[list[int]]:
    """Indices of each optimizer step's rollouts: as given if all go into one step, else shuffled in every epoch.

    Rollouts of one prompt stay together, so that a model that computes equal beginnings once reads the prompt once.
    Sizes differ by at most one, so the rollouts of a prompt may be divided where one minibatch ends and another begins.

    Args:
        samples: the rollouts.
        config: epochs, and optimizer steps in each.
        seed: of the run.
        update: number of updates before this one.
    """
    size = len(samples)
    epochs, parts = config.epochs, min(config.minibatches, size)
    if parts == 1:
        return [list(range(size))] * epochs
    groups = share_prompts(samples, most=math.inf)
    orders = (_shuffled(groups, np.random.default_rng([seed, update, epoch])) for epoch in range(epochs))
    return [part.tolist() for order in orders for part in np.array_split(order, parts)]


def _shuffled(groups: Sequence[Sequence[int]], random: np.random.Generator) -> NDArray[np.int64]:
    """The members of all groups in a random order, in which the members of a group are neighbours.

    The order is a circle that starts anywhere, even within a group. So every rollout is equally likely to be at every
    place. Without that, a minibatch in the middle would have fewer rollouts of small groups than the first and last.
    """
    circle = np.concatenate([random.permutation(groups[i]) for i in random.permutation(len(groups))])
    return np.roll(circle, random.integers(len(circle)))


def examples_of(
    chosen: Sequence[int],
    samples: Sequence[TrainSample],
    olds: Sequence[NDArray[np.float32] | None],
    algorithm: AlgorithmConfig,
) -> list[Example]:
    """The chosen rollouts of an update as one optimizer step sees them; `olds` has what their ratios refer to."""
    lengths = [len(samples[i].completion_ids_T) for i in chosen]
    weights = sequence_weights(lengths, algorithm.aggregation, algorithm.constant_length)
    return [Example(i, samples[i], olds[i], weight) for i, weight in zip(chosen, weights, strict=True)]


def check(samples: Sequence[TrainSample], *, critic: bool) -> None:
    """Refuse what cannot be learnt from.

    Raises:
        ValueError: no rollouts, or one that is empty, lacks advantages or whose parts differ in length.
    """
    if not samples:
        raise ValueError("no rollouts to learn from")
    for i, sample in enumerate(samples):
        parts = [sample.completion_ids_T, sample.logprobs_T, known(sample.advantages_T)]
        if critic:
            parts += [known(sample.values_T), known(sample.returns_T)]
        lengths = set(map(len, parts))
        if len(lengths) != 1 or 0 in lengths or not len(sample.prompt_ids_P):
            raise ValueError(f"rollout {i}: prompt of {len(sample.prompt_ids_P)}, parts of {sorted(lengths)} tokens")


def single_step(size: int, config: LearnerConfig) -> bool:
    """Whether an update takes a single optimizer step, whose only forward pass sees the weights before the update."""
    return config.epochs == 1 and min(config.minibatches, size) == 1
