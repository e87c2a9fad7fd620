"""A key-value cache in which the rows of a prompt share its keys and values.

A decoding step on a CPU spends most of its time reading keys and values from memory, and most of these belong to
prompts. The samples of a prompt have them in common, so they are kept and read once per prompt: attention is computed
over the prompt for all of its rows at once, and over each row's own tokens, and the two are joined by their
normalising sums. The result is that of attention over both, up to rounding (tests/rollout/test_lean.py). Times are in
bench/generate.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from azr.rollout.local.cache import RowCache

_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""What `scaled_dot_product_attention` calls on a CPU. It also returns the logarithms of the normalising sums."""


class PrefixCache:
    """Prompts, each once, and the tokens of the rows that continue them. For float32 on a CPU."""

    def __init__(self) -> None:
        self._prompts, self._own = RowCache(), RowCache()
        self._prompt_R = np.zeros(0, np.int64)  # of each row
        self._grouped: tuple[Tensor, Tensor] | None = None
        self._prompt_mask: Tensor | None = None
        self._own_mask: Tensor | None = None

    def append(self, prefilled: DynamicCache, copies: Sequence[int], lengths: NDArray[np.int64]) -> None:
        """Add rows at the end: row i of a left-padded prefill, `copies[i]` times over.

        Args:
            prefilled: the cache that the model filled while it read the prompts.
            copies: how many completions of each prompt are to be drawn.
            lengths: tokens of each prompt.
        """
        first = self._prompts.rows
        self._prompts.append(prefilled, [1] * len(copies), lengths)
        nothing = DynamicCache()
        for number, layer in enumerate(prefilled.layers):
            nothing.update(layer.keys[:, :, :0], layer.values[:, :, :0], number)
        self._own.append(nothing, copies, np.zeros_like(lengths))
        self._prompt_R = np.concatenate([self._prompt_R, np.repeat(np.arange(first, first + len(copies)), copies)])
        self._grouped = None

    def advance(self) -> None:
        """Count the column that `attend` has written."""
        self._own.advance()

    def keep(self, rows: int, *, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Shrink to the first `rows` rows, after moving rows from `source` to `target`; see `RowCache.keep`."""
        self._prompt_R[target] = self._prompt_R[source]
        self._prompt_R = self._prompt_R[:rows]
        self._own.keep(rows, source=source, target=target)
        self._forget_prompts()
        self._grouped = None

    def begin(self) -> None:
        """Prepare for one step of all layers."""
        if self._grouped is None:
            self._group()
            self._prompt_mask = self._prompts.hidden()
        self._own_mask = self._own.hidden(1)

    def attend(self, layer: int, q_RKGD: Tensor, k_RKD: Tensor, v_RKD: Tensor, *, scale: float) -> Tensor:
        """Attention of each row's newest token to its prompt, its tokens so far and itself, [R, K, G, D].

        Args:
            layer: its number.
            q_RKGD: queries, in groups of heads that share a key head.
            k_RKD: keys of the newest tokens.
            v_RKD: values of the newest tokens.
            scale: factor of the scores.
        """
        assert self._grouped is not None
        rows_PN, place_R = self._grouped
        keys, values = self._own.layers[layer].update(k_RKD[:, :, None], v_RKD[:, :, None])
        own_RKGD, own_RKG = _attention(q_RKGD, keys, values, attn_mask=self._own_mask, scale=scale)
        key_heads, group, width = q_RKGD.shape[1:]
        q_PKMD = q_RKGD[rows_PN].transpose(1, 2).reshape(len(rows_PN), key_heads, -1, width)
        keys, values = self._prompts.layers[layer].used()
        said_PKMD, said_PKM = _attention(q_PKMD, keys, values, attn_mask=self._prompt_mask, scale=scale)
        said_RKGD = _by_row(said_PKMD, rows_PN, group).flatten(0, 1)[place_R]
        said_RKG = _by_row(said_PKM[..., None], rows_PN, group)[..., 0].flatten(0, 1)[place_R]
        return torch.lerp(said_RKGD, own_RKGD, torch.sigmoid(own_RKG - said_RKG)[..., None])

    def _group(self) -> None:
        """The rows of each prompt, [P, N], filled up with row 0, and each row's place in that, [R]."""
        order_R = np.argsort(self._prompt_R, kind="stable")
        counts_P = np.bincount(self._prompt_R, minlength=self._prompts.rows)
        number_R = np.arange(len(order_R)) - np.repeat(counts_P.cumsum() - counts_P, counts_P)
        rows_PN = np.zeros((len(counts_P), counts_P.max()), np.int64)
        rows_PN[self._prompt_R[order_R], number_R] = order_R
        place_R = np.empty_like(order_R)
        place_R[order_R] = self._prompt_R[order_R] * rows_PN.shape[1] + number_R
        self._grouped = torch.from_numpy(rows_PN), torch.from_numpy(place_R)

    def _forget_prompts(self) -> None:
        """Drop prompts without rows, and fill their slots with the last prompts that stay."""
        wanted_P = np.bincount(self._prompt_R, minlength=self._prompts.rows) > 0
        count = int(wanted_P.sum())
        if count == len(wanted_P):
            return
        target = np.flatnonzero(~wanted_P[:count])
        source = count + np.flatnonzero(wanted_P[count:])
        moved_P = np.arange(len(wanted_P))
        moved_P[source] = target
        self._prompt_R = moved_P[self._prompt_R]
        self._prompts.keep(count, source=source, target=target)


def _by_row(said_PKMX: Tensor, rows_PN: Tensor, group: int) -> Tensor:
    """What was computed for the queries of a prompt, divided among its rows, [P, N, K, G, X]."""
    prompts, key_heads, _, width = said_PKMX.shape
    return said_PKMX.view(prompts, key_heads, rows_PN.shape[1], group, width).transpose(1, 2)
