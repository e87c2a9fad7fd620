"""Rollouts in the form of the Tinker API, and log-probabilities out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def datum(prompt_ids: Sequence[int] | NDArray[Any], completion_ids: Sequence[int] | NDArray[Any]) -> Any:
    """A `tinker.Datum`: each token but the last as input, each token but the first as target."""
    from tinker import types

    ids = np.concatenate([np.asarray(prompt_ids, np.int64), np.asarray(completion_ids, np.int64)])
    return types.Datum(
        model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs={"target_tokens": ids[1:]}
    )


def logprobs_of(output: Any, index: int, tokens: int) -> NDArray[np.float32]:
    """Log-probabilities of the last tokens of a datum [T], those of its completion, from a `ForwardBackwardOutput`."""
    whole = np.asarray(output.loss_fn_outputs[index]["logprobs"].data, np.float32)
    return whole[len(whole) - tokens :]
