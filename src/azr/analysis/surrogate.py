"""The effect of an optimizer step on a rollout's tokens, recomputed in NumPy from the `tokens` event.

With ratio r = pi / pi_old, advantage A, weight w of a token in the minibatch and importance weight c, the loss's
derivative with respect to a token's log-probability is

    -w c r A    where clipping does not cut it, else 0,   plus   w kl_coefficient dD / d log pi

and the push on a token is minus that: positive if the step makes the token more probable. The entropy bonus is left
out, because it acts on all tokens of the vocabulary and not on the sampled one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azr.config import AlgorithmConfig
from azr.run.events import unpack

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One optimizer step over one rollout; arrays have one entry per token [T]."""

    ids: NDArray[np.int32]  # token ids
    sampler: Float  # log-probabilities at sampling time (nats)
    ratio: Float  # pi / pi_old
    importance: Float  # truncated importance weight; 1 without `importance_cap`
    advantages: Float  # of each token
    weight: float  # of a token in the loss
    cut: NDArray[np.bool_]  # where clipping removed the gradient
    push: Float  # minus the derivative of the loss by each log-probability


def passes(event: Mapping[str, Any], algorithm: AlgorithmConfig) -> tuple[Pass, ...]:
    """The optimizer steps in a `tokens` event."""
    ids, sampler = unpack(event["tokens"], np.int32), unpack(event["sampler"], np.float16).astype(np.float64)
    return tuple(_pass(ids, sampler, record, algorithm) for record in event["passes"])


def cut(ratio: Float, advantages: Float, *, low: float, high: float, dual: float | None) -> NDArray[np.bool_]:
    """Where the clipped surrogate has no gradient: the ratio is beyond the limit in the advantage's direction."""
    result: NDArray[np.bool_] = ((advantages > 0) & (ratio > 1 + high)) | ((advantages < 0) & (ratio < 1 - low))
    return result if dual is None else result | ((advantages < 0) & (ratio > dual))


def _pass(ids: NDArray[np.int32], sampler: Float, record: Mapping[str, Any], algorithm: AlgorithmConfig) -> Pass:
    ratio = np.exp(unpack(record["ratio"], np.float32).astype(np.float64))
    advantage, weight = record["advantage"], record["weight"]
    if isinstance(advantage, str):
        advantages = unpack(advantage, np.float32).astype(np.float64)
    else:
        advantages = np.full(len(ids), advantage)
    importance = np.ones(len(ids))
    if algorithm.importance_cap is not None and record["old"] is not None:
        importance = np.exp(unpack(record["old"], np.float32).astype(np.float64)).clip(max=algorithm.importance_cap)
    gone = cut(ratio, advantages, low=algorithm.clip_low, high=algorithm.clip_high, dual=algorithm.dual_clip)
    push = np.where(gone, 0.0, importance * ratio * advantages)
    if record["reference"] is not None:
        push -= algorithm.kl_coefficient * _slope(unpack(record["reference"], np.float32), algorithm.kl_estimator)
    return Pass(ids, sampler, ratio, importance, advantages, weight, gone, weight * push)


def _slope(d: NDArray[np.float32], estimator: str) -> Float:
    """Derivative by log pi of the estimators in `azr.learn.loss.divergence`, for d = log pi_ref - log pi."""
    d64 = d.astype(np.float64)
    return {"k1": np.ones_like(d64), "k2": -d64, "k3": -np.expm1(d64)}[estimator]
