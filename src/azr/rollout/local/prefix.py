"""A key-value cache in which the rows of a prompt share its keys and values.

A decoding step on a CPU spends most of its time reading keys and values from memory, and most of these belong to
prompts. The samples of a prompt have them in common, so they are kept and read once per prompt: attention is computed
over the prompt for all of its rows at once, and over each row's own tokens, and the two are joined by their
normalising sums. The result is that of attention over both, up to rounding (tests/rollout/test_lean.py). Prompts of
very different lengths are kept apart, since what pads the short ones would have to be read too. Times are in
bench/generate.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        self._own = RowCache()
        self._prompts: dict[int, RowCache] = {}  # by the number of bits of their length
        self._bits_R = np.zeros(0, np.int64)  # of each row's prompt
        self._prompt_R = np.zeros(0, np.int64)  # its place among those of similar length
        self._groups: list[_Group] = []
        self._place_R = torch.zeros(0, dtype=torch.long)
        self._own_mask: Tensor | None = None

    def append(self, prefilled: DynamicCache, copies: Sequence[int], lengths: NDArray[np.int64]) -> None:
        """Add rows at the end: row i of a left-padded prefill, `copies[i]` times over.

        Args:
            prefilled: the cache that the model filled while it read the prompts.
            copies: how many completions of each prompt are to be drawn.
            lengths: tokens of each prompt.
        """
        bits_P = np.array([int(length).bit_length() for length in lengths])
        place_P = np.zeros_like(bits_P)
        for bits in np.unique(bits_P):
            chosen = np.flatnonzero(bits_P == bits)
            cache = self._prompts.setdefault(int(bits), RowCache())
            place_P[chosen] = cache.rows + np.arange(len(chosen))
            part = _columns(prefilled, chosen, slice(prefilled.get_seq_length() - int(lengths[chosen].max()), None))
            cache.append(part, [1] * len(chosen), lengths[chosen])
        self._own.append(_columns(prefilled, slice(None), slice(0, 0)), copies, np.zeros_like(lengths))
        self._bits_R = np.concatenate([self._bits_R, np.repeat(bits_P, copies)])
        self._prompt_R = np.concatenate([self._prompt_R, np.repeat(place_P, copies)])
        self._groups = []

    def advance(self) -> None:
        """Count the column that `attend` has written."""
        self._own.advance()

    def keep(self, rows: int, *, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Shrink to the first `rows` rows, after moving rows from `source` to `target`; see `RowCache.keep`."""
        for array in (self._bits_R, self._prompt_R):
            array[target] = array[source]
        self._bits_R, self._prompt_R = self._bits_R[:rows], self._prompt_R[:rows]
        self._own.keep(rows, source=source, target=target)
        for bits in list(self._prompts):
            self._forget_prompts(bits)
        self._groups = []

    def begin(self) -> None:
        """Prepare for one step of all layers."""
        if not self._groups:
            place_R, count = np.zeros_like(self._prompt_R), 0
            for bits, cache in self._prompts.items():
                rows = np.flatnonzero(self._bits_R == bits)
                group, place_R[rows] = _grouped(cache, rows, self._prompt_R[rows])
                place_R[rows] += count
                count += group.rows_PN.numel()
                self._groups.append(group)
            self._place_R = torch.from_numpy(place_R)
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
        keys, values = self._own.layers[layer].update(k_RKD[:, :, None], v_RKD[:, :, None])
        own_RKGD, own_RKG = _attention(q_RKGD, keys, values, attn_mask=self._own_mask, scale=scale)
        parts = [group.attend(layer, q_RKGD, scale) for group in self._groups]
        said_RKGD = torch.cat([said for said, _ in parts])[self._place_R]
        said_RKG = torch.cat([sums for _, sums in parts])[self._place_R]
        return torch.lerp(said_RKGD, own_RKGD, torch.sigmoid(own_RKG - said_RKG)[..., None])

    def _forget_prompts(self, bits: int) -> None:
        """Drop prompts without rows, and fill their slots with the last prompts that stay."""
        cache, rows = self._prompts[bits], np.flatnonzero(self._bits_R == bits)
        wanted_P = np.bincount(self._prompt_R[rows], minlength=cache.rows) > 0
        count = int(wanted_P.sum())
        if count == len(wanted_P):
            return
        if not count:
            del self._prompts[bits]
            return
        target = np.flatnonzero(~wanted_P[:count])
        source = count + np.flatnonzero(wanted_P[count:])
        moved_P = np.arange(len(wanted_P))
        moved_P[source] = target
        self._prompt_R[rows] = moved_P[self._prompt_R[rows]]
        cache.keep(count, source=source, target=target)


@dataclass(frozen=True, slots=True)
class _Group:
    """Prompts of similar length, and the rows of each, filled up with row 0."""

    cache: RowCache
    mask: Tensor | None
    rows_PN: Tensor

    def attend(self, layer: int, q_RKGD: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Attention of the rows to their prompts, [P * N, K, G, D], and logarithms of its sums [P * N, K, G]."""
        prompts, rows = self.rows_PN.shape
        key_heads, group, width = q_RKGD.shape[1:]
        q_PKMD = q_RKGD[self.rows_PN].transpose(1, 2).reshape(prompts, key_heads, -1, width)
        keys, values = self.cache.layers[layer].used()
        said_PKMD, sums_PKM = _attention(q_PKMD, keys, values, attn_mask=self.mask, scale=scale)
        said_PNKGD = said_PKMD.view(prompts, key_heads, rows, group, width).transpose(1, 2)
        sums_PNKG = sums_PKM.unflatten(2, (rows, group)).transpose(1, 2)
        return said_PNKGD.flatten(0, 1), sums_PNKG.flatten(0, 1)


def _grouped(cache: RowCache, rows: NDArray[np.intp], prompt_R: NDArray[np.int64]) -> tuple[_Group, NDArray[np.int64]]:
    """Rows by their prompt, and each row's place in the flattened table."""
    order = np.argsort(prompt_R, kind="stable")
    counts_P = np.bincount(prompt_R, minlength=cache.rows)
    number_R = np.arange(len(order)) - np.repeat(counts_P.cumsum() - counts_P, counts_P)
    rows_PN = np.zeros((len(counts_P), counts_P.max()), np.int64)
    rows_PN[prompt_R[order], number_R] = rows[order]
    place_R = np.empty_like(prompt_R)
    place_R[order] = prompt_R[order] * rows_PN.shape[1] + number_R
    return _Group(cache, cache.hidden(), torch.from_numpy(rows_PN)), place_R


def _columns(prefilled: DynamicCache, rows: slice | NDArray[np.intp], columns: slice) -> DynamicCache:
    """Some rows and columns of a cache."""
    part = DynamicCache()
    for number, layer in enumerate(prefilled.layers):
        part.update(layer.keys[rows][:, :, columns], layer.values[rows][:, :, columns], number)
    return part
