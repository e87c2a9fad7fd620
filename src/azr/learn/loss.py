"""The policy's loss per token: surrogate, divergence, importance weight, and how tokens are aggregated.

All functions take flat vectors with one entry per completion token (suffix N). With ratio
r = pi(a) / pi_old(a) and advantage A, the loss of a token is

    w * surrogate(r, A) + kl_coefficient * D - entropy_coefficient * H

and the loss of a minibatch is the sum over its tokens of that, times the token's weight (`sequence_weights`).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def clipped_surrogate(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, as a loss: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A).

    Different bounds below and above are DAPO's "clip higher"
    (arXiv 2503.14476). `dual_clip` = c > 1 limits the loss of a token with negative advantage to -c A; otherwise a
    single token with a large ratio has no limit (arXiv 1912.09729).

    Returns:
        the loss of each token, and whether clipping removed its gradient.
    """
    ratio_N = torch.exp(logprobs_N - old_logprobs_N)
    plain_N = -ratio_N * advantages_N
    clipped_N = -ratio_N.clamp(1 - clip_low, 1 + clip_high) * advantages_N
    cut_N = clipped_N > plain_N
    loss_N = torch.maximum(plain_N, clipped_N)
    if dual_clip is not None:
        bound_N = -dual_clip * advantages_N
        over_N = (advantages_N < 0) & (loss_N > bound_N)
        loss_N, cut_N = torch.where(over_N, bound_N, loss_N), cut_N | over_N
    return loss_N, cut_N


def divergence(logprobs_N: Tensor, other_N: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Schulman's estimators of KL(pi || other) from tokens drawn from pi (joschu.net/blog/kl-approx.html).

    With d = log other - log pi: k1 = -d is unbiased and of high variance, k2 = d^2 / 2 is biased and of low variance,
    k3 = e^d - 1 - d is unbiased and never negative. As losses they differ more: the expected gradient of k1 is 0, that
    of k2 is the gradient of the divergence, and that of k3 is close to it while the policies are.
    """
    d_N = other_N - logprobs_N
    if estimator == "k1":
        return -d_N
    if estimator == "k2":
        return d_N.square() / 2
    return torch.expm1(d_N) - d_N


def importance_weight(old_logprobs_N: Tensor, sampler_logprobs_N: Tensor, cap: float) -> Tensor:
    """min(pi_old / pi_sampler, cap), without gradient.

    Sampler and learner compute the same probabilities with different kernels, so tokens come from a policy that differs
    slightly from the one that learns. Truncation keeps a rare large ratio from dominating the step (arXiv 2510.18927
    uses such weights for this mismatch).
    """
    return torch.exp(old_logprobs_N - sampler_logprobs_N).clamp(max=cap).detach()


def sequence_weights(
    lengths: Sequence[int],
    aggregation: Literal["token_mean", "sequence_mean", "constant"],
    constant_length: int | None = None,
) -> list[float]:
    """The weight of each sequence's tokens in the loss of a minibatch, one number per sequence.

    Weights refer to the whole minibatch, so micro-batches add up to the same gradient however they are cut.

    Args:
        lengths: completion tokens of each sequence in the minibatch.
        aggregation: `token_mean`: every token counts the same. `sequence_mean`: every sequence counts the same.
            `constant`: each sequence's sum is divided by a fixed length (Dr. GRPO, arXiv 2503.20783).
        constant_length: that length, in tokens.
    """
    if aggregation == "token_mean":
        return [1 / sum(lengths)] * len(lengths)
    if aggregation == "sequence_mean":
        return [1 / (len(lengths) * length) for length in lengths]
    if constant_length is None:
        raise ValueError("aggregation = constant needs constant_length")
    return [1 / (len(lengths) * constant_length)] * len(lengths)
