"""What a micro-batch adds to the loss of its minibatch, and what there is to see on the way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from azr.policy.adapters import without_adapter
from azr.policy.base import Observer, Trace, Trainee
from azr.policy.critic import Critic
from azr.policy.logprobs import Scorer
from azr.policy.loss import clipped_surrogate, divergence, importance_weight
from azr.policy.tally import Tally

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig


@dataclass(frozen=True, slots=True)
class Lesson:
    """A trainee with what one optimizer step needs besides.

    Attributes:
        index: its place among the trainees of the update.
        trainee: the rollout.
        old: log-probabilities that ratios refer to; None: the learner's own, as they are at this step.
        weight: what each of its tokens counts in the minibatch (`sequence_weights`).
    """

    index: int
    trainee: Trainee
    old: Sequence[float] | None
    weight: float


class Objective:
    """The loss of `azr.policy.loss` over rollouts, and the critic's.

    Args:
        scorer: of the policy.
        algorithm: what the loss is made of.
        reference: what the divergence is measured from; the policy's own scorer means the policy without its adapter.
        critic: PPO's.
    """

    def __init__(
        self, scorer: Scorer, algorithm: AlgorithmConfig, *, reference: Scorer | None, critic: Critic | None
    ) -> None:
        self._scorer, self._algorithm, self._reference, self._critic = scorer, algorithm, reference, critic

    def refer(self, rows: Sequence[Sequence[Trainee]]) -> Tensor:
        """Log-probabilities under the model that the divergence is measured from; only where there is one."""
        assert self._reference is not None
        bare = without_adapter(self._scorer.model) if self._reference is self._scorer else nullcontext()
        with torch.no_grad(), bare:
            return self._reference.score(rows).logprobs_N

    def loss(
        self, rows: Sequence[Sequence[Lesson]], tally: Tally, observe: Observer | None, *, first: bool
    ) -> tuple[Tensor, Tensor | float]:
        """A micro-batch's share of the minibatch's loss (the equation at the top of `loss.py`) and of the critic's."""
        algorithm, lessons = self._algorithm, list(itertools.chain.from_iterable(rows))
        trainees = [lesson.trainee for lesson in lessons]
        texts = [[lesson.trainee for lesson in row] for row in rows]
        scores = self._scorer.score(texts, entropy_gradient=algorithm.entropy_coefficient > 0)
        logprobs_N, entropy_N = scores.logprobs_N, scores.entropy_N
        sampler_N = flat([trainee.logprobs for trainee in trainees], logprobs_N)
        olds = [lesson.old for lesson in lessons if lesson.old is not None]
        old_N = flat(olds, logprobs_N) if olds else logprobs_N.detach()
        loss_N, cut_N = clipped_surrogate(
            logprobs_N,
            old_N,
            flat([trainee.advantages for trainee in trainees], logprobs_N),
            clip_low=algorithm.clip_low,
            clip_high=algorithm.clip_high,
            dual_clip=algorithm.dual_clip,
        )
        if algorithm.importance_cap is not None:
            loss_N = loss_N * importance_weight(old_N, sampler_N, algorithm.importance_cap)
        reference_N = None
        if self._reference is not None and algorithm.kl_in == "loss":
            reference_N = self.refer(texts)
            kl_N = divergence(logprobs_N, reference_N, algorithm.kl_estimator)
            loss_N = loss_N + algorithm.kl_coefficient * kl_N
            tally.add("kl", kl_N)
        if algorithm.entropy_coefficient:
            loss_N = loss_N - algorithm.entropy_coefficient * entropy_N
        if first:
            tally.add("mismatch_kl", divergence(sampler_N, logprobs_N.detach(), "k3"))
        tally.add("clip_share", cut_N)
        tally.add("entropy", entropy_N)
        tally.ratios(torch.exp(logprobs_N.detach() - old_N))
        if observe is not None:
            _show(lessons, logprobs_N.detach(), old_N, reference_N, observe)
        weights = [[lesson.weight] * len(lesson.trainee.logprobs) for lesson in lessons]
        weights_N = flat(weights, logprobs_N)
        return (loss_N * weights_N).sum(), self._value_loss(scores.states_NH, trainees, weights_N, tally)

    def _value_loss(
        self, states_NH: Tensor | None, trainees: Sequence[Trainee], weights_N: Tensor, tally: Tally
    ) -> Tensor | float:
        """The critic's share of the minibatch's loss; 0 without a critic."""
        if self._critic is None or states_NH is None:
            return 0.0
        old_N = flat([trainee.values for trainee in trainees], weights_N)
        loss_N = self._critic.loss(states_NH, old_N, flat([trainee.returns for trainee in trainees], weights_N))
        tally.add("value_loss", loss_N)
        return (loss_N * weights_N).sum()


def _show(
    lessons: Sequence[Lesson], logprobs_N: Tensor, old_N: Tensor, reference_N: Tensor | None, observe: Observer
) -> None:
    """Tell the observer what this pass saw of each rollout."""
    first = 0
    logprobs, old = logprobs_N.cpu().numpy(), old_N.cpu().numpy()
    reference = None if reference_N is None else reference_N.cpu().numpy()
    for lesson in lessons:
        at = slice(first, first + len(lesson.trainee.logprobs))
        advantages = np.array(lesson.trainee.advantages, np.float64)
        part = None if reference is None else reference[at]
        observe(lesson.index, Trace(logprobs[at], old[at], advantages, lesson.weight, part))
        first = at.stop


def flat(parts: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """The parts in a row, as a tensor of the same precision and place as another."""
    return torch.tensor(list(itertools.chain.from_iterable(parts)), dtype=like.dtype, device=like.device)
