"""The policy's loss, token by token: surrogate, divergence, importance weight, and how tokens become one number.

Everything here takes flat vectors with one entry a completion token (suffix N) and knows no model. With ratio
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

    It is the ratio that is clipped, never the advantage. Different bounds below and above are DAPO's "clip higher"
    (arXiv 2503.14476). `dual_clip` = c > 1 bounds the loss of a negative advantage by -c A, where r alone would let
    one improbable token grow without limit (arXiv 1912.09729).

    Returns:
        the loss of each token, and whether clipping cut off its gradient.
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
    k3 = e^d - 1 - d is both unbiased and never negative. As losses they differ more: the gradient of k1 is 0 on
    average, that of k2 is the gradient of the divergence itself, that of k3 lies near it while the policies are close.
    """
    d_N = other_N - logprobs_N
    if estimator == "k1":
        return -d_N
    if estimator == "k2":
        return d_N.square() / 2
    return torch.expm1(d_N) - d_N


def importance_weight(old_logprobs_N: Tensor, sampler_logprobs_N: Tensor, cap: float) -> Tensor:
    """min(pi_old / pi_sampler, cap), without gradient.

    Sampler and learner compute the same probabilities by different kernels, so that tokens come from a slightly
    different policy than the one that learns; the truncation keeps a rare large ratio from ruling the step (arXiv
    2510.18927 has such weights for this very mismatch).
    """
    return torch.exp(old_logprobs_N - sampler_logprobs_N).clamp(max=cap).detach()


def sequence_weights(
    lengths: Sequence[int],
    aggregation: Literal["token_mean", "sequence_mean", "constant"],
    constant_length: int | None = None,
) -> list[float]:
    """What each token of a sequence counts in the loss of a minibatch, one number a sequence.

    They refer to the minibatch as a whole, so that micro-batches add up to exactly the same gradient however they are
    cut.

    Args:
        lengths: completion tokens of each sequence in the minibatch.
        aggregation: `token_mean`: every token the same. `sequence_mean`: every sequence the same, whatever its length.
            `constant`: every sequence's sum over a fixed length (Dr. GRPO, arXiv 2503.20783), without length bias.
        constant_length: that length, in tokens.
    """
    if aggregation == "token_mean":
        return [1 / sum(lengths)] * len(lengths)
    if aggregation == "sequence_mean":
        return [1 / (len(lengths) * length) for length in lengths]
    if constant_length is None:
        raise ValueError("aggregation = constant needs constant_length")
    return [1 / (len(lengths) * constant_length)] * len(lengths)
