"""One call of any causal language model that fills or continues a cache: what decoding needs of it, and no more."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from azr.policy.cache import RowCache
from azr.policy.load import LanguageModel


class Forward:
    """The logits that follow the last column, from a model that fills or continues a cache."""

    def __init__(self, policy: LanguageModel) -> None:
        self._model = policy.model
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        accepted = inspect.signature(base.forward).parameters
        self._optional = tuple(name for name in ("position_ids", "logits_to_keep") if name in accepted)

    def __call__(self, ids_RW: Tensor, mask_RC: Tensor, positions_RW: Tensor, cache: Cache) -> Tensor:
        """Logits of the last column, [R, V].

        Args:
            ids_RW: tokens that the cache does not hold yet.
            mask_RC: for every column, the cache's and then the new ones, whether a row sees it.
            positions_RW: where the tokens stand in their sequences, from 0.
            cache: gets the keys and values of the new columns.
        """
        optional = {"position_ids": positions_RW, "logits_to_keep": 1}
        output = self._model(
            input_ids=ids_RW,
            attention_mask=mask_RC,
            past_key_values=cache,
            use_cache=True,
            **{name: optional[name] for name in self._optional},
        )
        logits_RV: Tensor = output.logits[:, -1]
        return logits_RV


class ExactStep:
    """One token more for every row of a `RowCache`: shapes that are never wider than they have to be."""

    def __init__(self, policy: LanguageModel, forward: Forward) -> None:
        self._policy, self._forward = policy, forward
        self.reset()

    def reset(self) -> None:
        """Forget every row."""
        self.cache = RowCache()

    def __call__(self, newest_R: NDArray[np.int64], cached_R: NDArray[np.int64]) -> Tensor:
        """Logits after each row's newest token, [R, V]; `cached_R` tokens of each are in the cache."""
        width, device = self.cache.width + 1, self._policy.device
        mask_RC = np.arange(width) >= width - 1 - cached_R[:, None]
        ids_R1, positions_R1 = newest_R[:, None], cached_R[:, None]
        ids, mask, positions = (torch.from_numpy(array).to(device) for array in (ids_R1, mask_RC, positions_R1))
        logits_RV = self._forward(ids, mask, positions, self.cache)
        self.cache.advance()
        return logits_RV
