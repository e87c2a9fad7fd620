"""Log-probabilities and advantages of every token, as base64 arrays within an event.

    tokens     id, tokens, sampler, passes: for each optimizer step, old, ratio, advantage, weight, reference

`sampler` has half precision, about three digits. The others are differences in single precision, so that ratios and
clipping can be recomputed exactly: `old` is old - sampler (null if equal), `ratio` is log pi - log pi_old, `reference`
is log pi_ref - log pi.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from azr.learn.base import Trace
from azr.types import Rollout

Packed = dict[str, Any]


def token_events(
    step: int,
    rollouts: Sequence[Rollout],
    advantages: Sequence[NDArray[np.float64]],
    traces: Sequence[Sequence[Trace]],
) -> Iterator[Packed]:
    """One event per rollout, with the advantages of its tokens [T] and the traces of the learner's passes over it."""
    for rollout, advantages_T, passes in zip(rollouts, advantages, traces, strict=True):
        sample, sampler_T = rollout.sample, np.array(rollout.sample.logprobs, np.float32)
        yield {
            "event": "tokens",
            "step": step,
            "id": rollout.id,
            "tokens": pack(sample.completion_ids, np.int32),
            "sampler": pack(sample.logprobs, np.float16),
            "passes": [_packed(trace, advantages_T, sampler_T) for trace in passes],
        }


def pack(values: Any, dtype: DTypeLike) -> str:
    """An array as text: little-endian bytes in base64."""
    array = np.asarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode("ascii")


def unpack(text: str, dtype: DTypeLike) -> NDArray[Any]:
    """The array that `pack` was given."""
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _packed(trace: Trace, advantages_T: NDArray[np.float64], sampler_T: NDArray[np.float32]) -> Packed:
    same, reference_T = bool((advantages_T == advantages_T[0]).all()), trace.reference_T
    return {
        "old": None if np.array_equal(trace.old_T, sampler_T) else pack(trace.old_T - sampler_T, np.float32),
        "ratio": pack(trace.logprobs_T - trace.old_T, np.float32),
        "advantage": float(advantages_T[0]) if same else pack(advantages_T, np.float32),
        "weight": trace.weight,
        "reference": None if reference_T is None else pack(reference_T - trace.logprobs_T, np.float32),
    }
