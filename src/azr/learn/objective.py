"""A micro-batch's share of the loss of its minibatch, with metrics and traces."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.learn.base import Trace, TrainSample
from azr.learn.critic import Critic
from azr.learn.logprobs import Scorer
from azr.learn.loss import clipped_surrogate, divergence, importance_weight
from azr.learn.tally import Tally
from azr.models.adapters import without_adapter

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A sample with what else one optimizer step needs.

    Attributes:
        index: its place among the samples of the update.
        sample: the rollout.
        old_T: log-probabilities that ratios refer to; None: the learner's own, as they are at this step.
        weight: of each of its tokens in the minibatch (`sequence_weights`).
    """

    index: int
    sample: TrainSample
    old_T: NDArray[np.float32] | None
    weight: float


@dataclass(frozen=True, slots=True)
class Share:
    """A micro-batch's share of a minibatch.

    Attributes:
        loss: its share of the policy's loss, with gradient.
        value_loss: its share of the critic's; 0 without a critic.
        traces: of each rollout, by its index; empty unless requested.
    """

    loss: Tensor
    value_loss: Tensor | float
    traces: Mapping[int, Trace]


class Objective:
    """The loss of `azr.learn.loss` over rollouts, and the critic's.

    Args:
        scorer: of the policy.
        algorithm: the terms of the loss.
        reference: scores the reference model; the policy's own scorer means the policy without its adapter.
        critic: PPO's.
    """

    def __init__(
        self, scorer: Scorer, algorithm: AlgorithmConfig, *, reference: Scorer | None, critic: Critic | None
    ) -> None:
        self._scorer, self._algorithm, self._reference, self._critic = scorer, algorithm, reference, critic

    def refer(self, rows: Sequence[Sequence[TrainSample]]) -> Tensor:
        """Log-probabilities [N] under the reference model, which there must be."""
        assert self._reference is not None
        bare = without_adapter(self._scorer.model) if self._reference is self._scorer else nullcontext()
        with torch.no_grad(), bare:
            return self._reference.score(rows).logprobs_N

    def share(self, rows: Sequence[Sequence[Example]], tally: Tally, *, first: bool, traced: bool) -> Share:
        """A micro-batch's share of the minibatch's loss (the equation at the top of `loss.py`) and of the critic's.

        Args:
            rows: each has one prompt.
            tally: for the metrics.
            first: whether the weights have not moved in this update, so that sampler and learner can be compared.
            traced: whether to return traces.
        """
        algorithm, examples = self._algorithm, list(itertools.chain.from_iterable(rows))
        samples = [example.sample for example in examples]
        texts = [[example.sample for example in row] for row in rows]
        scores = self._scorer.score(texts, entropy_gradient=algorithm.entropy_coefficient > 0)
        logprobs_N, entropy_N = scores.logprobs_N, scores.entropy_N
        reference_N = None
        if self._reference is not None and algorithm.kl_in == "loss":
            reference_N = self.refer(texts)
        loss_N, old_N = token_losses(logprobs_N, examples, algorithm, reference_N, tally, first=first)
        if algorithm.entropy_coefficient:
            loss_N = loss_N - algorithm.entropy_coefficient * entropy_N
        tally.add("entropy", entropy_N)
        weights_N = token_weights(examples, logprobs_N)
        value_loss = self._value_loss(scores.states_NH, samples, weights_N, tally)
        traces = traces_of(examples, logprobs_N.detach(), old_N, reference_N) if traced else {}
        return Share((loss_N * weights_N).sum(), value_loss, traces)

    def nothing(self, rows: Sequence[Sequence[TrainSample]]) -> Tensor:
        """A loss of 0 that needs the same passes as `share`, for a rank that only takes part in transfers."""
        loss: Tensor = self._scorer.score(rows).logprobs_N.sum() * 0.0
        if self._reference is not None and self._algorithm.kl_in == "loss":
            self.refer(rows)
        return loss

    def _value_loss(
        self, states_NH: Tensor | None, samples: Sequence[TrainSample], weights_N: Tensor, tally: Tally
    ) -> Tensor | float:
        """The critic's share of the minibatch's loss; 0 without a critic."""
        if self._critic is None or states_NH is None:
            return 0.0
        old_N = flat([known(sample.values_T) for sample in samples], weights_N)
        returns_N = flat([known(sample.returns_T) for sample in samples], weights_N)
        loss_N = self._critic.loss(states_NH, old_N, returns_N)
        tally.add("value_loss", loss_N)
        return (loss_N * weights_N).sum()


def token_losses(
    logprobs_N: Tensor,
    examples: Sequence[Example],
    algorithm: AlgorithmConfig,
    reference_N: Tensor | None,
    tally: Tally,
    *,
    first: bool,
) -> tuple[Tensor, Tensor]:
    """The loss of each token without the entropy's term (see `loss.py`), wherever its log-probability was computed.

    Args:
        logprobs_N: under the policy, example after example; with gradient.
        examples: the rollouts.
        algorithm: the terms of the loss.
        reference_N: log-probabilities under the reference model; None if the loss has no KL term.
        tally: for the metrics.
        first: whether the weights have not moved in this update, so that sampler and learner can be compared.

    Returns:
        the losses [N], and the log-probabilities that ratios refer to [N].
    """
    sampler_N = flat([example.sample.logprobs_T for example in examples], logprobs_N)
    olds = [example.old_T for example in examples if example.old_T is not None]
    old_N = flat(olds, logprobs_N) if olds else logprobs_N.detach()
    loss_N, cut_N = clipped_surrogate(
        logprobs_N,
        old_N,
        flat([known(example.sample.advantages_T) for example in examples], logprobs_N),
        clip_low=algorithm.clip_low,
        clip_high=algorithm.clip_high,
        dual_clip=algorithm.dual_clip,
    )
    if algorithm.importance_cap is not None:
        loss_N = loss_N * importance_weight(old_N, sampler_N, algorithm.importance_cap)
    if reference_N is not None:
        kl_N = divergence(logprobs_N, reference_N, algorithm.kl_estimator)
        loss_N = loss_N + algorithm.kl_coefficient * kl_N
        tally.add("kl", kl_N)
    if first:
        tally.add("mismatch_kl", divergence(sampler_N, logprobs_N.detach(), "k3"))
    tally.add("clip_share", cut_N)
    tally.ratios(torch.exp(logprobs_N.detach() - old_N))
    return loss_N, old_N


def token_weights(examples: Sequence[Example], like: Tensor) -> Tensor:
    """The weight of each token in the loss of its minibatch [N], with the dtype and device of another tensor."""
    return flat([np.full(len(example.sample.logprobs_T), example.weight) for example in examples], like)


def flat(parts: Sequence[NDArray[Any]], like: Tensor) -> Tensor:
    """Concatenate arrays [N] into a tensor with the dtype and device of another."""
    return torch.from_numpy(np.concatenate(parts)).to(like.dtype).to(like.device)  # MPS has no float64


def known(array: NDArray[Any] | None) -> NDArray[Any]:
    """An array that the sample must have.

    Raises:
        ValueError: it is None.
    """
    if array is None:
        raise ValueError("a sample lacks advantages, or the values and returns that a critic needs")
    return array


def traces_of(
    examples: Sequence[Example], logprobs_N: Tensor, old_N: Tensor, reference_N: Tensor | None
) -> dict[int, Trace]:
    """The trace of each rollout, by its index."""
    ends = np.cumsum([len(example.sample.logprobs_T) for example in examples])[:-1]
    logprobs, old = (np.split(part_N.cpu().numpy(), ends) for part_N in (logprobs_N, old_N))
    reference = [None] * len(examples) if reference_N is None else np.split(reference_N.cpu().numpy(), ends)
    return {
        example.index: Trace(logprobs_T, old_T, example.weight, reference_T)
        for example, logprobs_T, old_T, reference_T in zip(examples, logprobs, old, reference, strict=True)
    }
