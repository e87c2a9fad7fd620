"""One call of any causal language model that fills or continues a cache: what decoding needs of it, and no more."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from azr.models.load import LanguageModel


class Forward:
    """The logits that follow the last column, from a model that fills or continues a cache."""

    def __init__(self, policy: LanguageModel) -> None:
        self._policy = policy
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        accepted = inspect.signature(base.forward).parameters
        self._optional = tuple(name for name in ("position_ids", "logits_to_keep") if name in accepted)

    def __call__(
        self, ids_RW: NDArray[np.int64], mask_RC: NDArray[np.bool_], positions_RW: NDArray[np.int64], cache: Cache
    ) -> Tensor:
        """Logits of the last column, [R, V].

        Args:
            ids_RW: tokens that the cache does not hold yet.
            mask_RC: for every column, the cache's and then the new ones, whether a row sees it.
            positions_RW: where the tokens stand in their sequences, from 0.
            cache: gets the keys and values of the new columns.
        """
        arrays, device = (ids_RW, mask_RC, positions_RW), self._policy.device
        ids, mask, positions = (torch.from_numpy(array).to(device) for array in arrays)
        optional = {"position_ids": positions, "logits_to_keep": 1}
        output = self._policy.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: optional[name] for name in self._optional},
        )
        logits_RV: Tensor = output.logits[:, -1]
        return logits_RV
