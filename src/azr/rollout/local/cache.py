"""A key-value cache for continuous batching, whose rows come and go.

All rows end at the same column, `end`, where the next token goes. Shorter rows have stale columns on their left, which
the attention mask hides. A token costs one column written in place (a `DynamicCache` copies the whole cache for every
token), a row that leaves the copy of the row that takes its slot. Columns that no row needs drop out of the view that
attention sees. Measured in bench/generate.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

_SLACK = 64  # free columns after an allocation, at least: tokens until the next one is needed


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One model layer's buffers, [slots, heads, columns, width] each; attention sees the view that is in use."""

    def __init__(self, owner: RowCache, prefilled: DynamicLayer) -> None:
        super().__init__()
        self.owner = owner
        self.keys = prefilled.keys[:0, :, :0]
        self.values = prefilled.values[:0, :, :0]
        self.is_initialized = True

    def move(self, slots: int, columns: int, end: int) -> None:
        """Reallocate, with the columns in use ending at `end`.

        Zeros and not `empty`: a hidden column has weight 0, and 0 x NaN would still be NaN.
        """
        self.keys, self.values = (self._moved(old, slots, columns, end) for old in (self.keys, self.values))

    def _moved(self, old: Tensor, slots: int, columns: int, end: int) -> Tensor:
        new = old.new_zeros((slots, old.shape[1], columns, old.shape[3]))
        cache = self.owner
        new[: cache.rows, :, end - cache.width : end] = old[: cache.rows, :, cache.start : cache.end]
        return new

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the newest column and return all columns in use (called by the model's attention)."""
        cache = self.owner
        self.keys[: cache.rows, :, cache.end] = key_states[:, :, 0]
        self.values[: cache.rows, :, cache.end] = value_states[:, :, 0]
        used = (slice(cache.rows), slice(None), slice(cache.start, cache.end + 1))
        return self.keys[used], self.values[used]

    def get_seq_length(self) -> int:
        """Return the columns in use, without the one about to be written."""
        return self.owner.width


class RowCache(Cache):  # type: ignore[misc]
    """A `transformers` cache over rows 0..rows-1 and columns start..end-1 of its buffers.

    Attributes:
        lengths_R: tokens of each row.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.layers: list[_Layer] = []
        self.rows = self.start = self.end = 0
        self.lengths_R = np.zeros(0, np.int64)
        self._slots = self._columns = 0

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.end - self.start

    def append(self, prefilled: DynamicCache, copies: Sequence[int], lengths: NDArray[np.int64]) -> None:
        """Add rows at the end: row i of a left-padded prefill, `copies[i]` times over.

        Args:
            prefilled: the cache that the model filled while it read the prompts.
            copies: how many completions of each prompt are to be drawn.
            lengths: tokens of each prompt.
        """
        length, added = prefilled.get_seq_length(), sum(copies)
        if not self.layers:
            self.layers = [_Layer(self, layer) for layer in prefilled.layers]
        self._place(self.rows + added, max(self.end, length))
        to = (slice(self.rows, self.rows + added), slice(None), slice(self.end - length, self.end))
        repeats = torch.tensor(copies, device=prefilled.layers[0].keys.device)
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            layer.keys[to] = source.keys.repeat_interleave(repeats, dim=0)
            layer.values[to] = source.values.repeat_interleave(repeats, dim=0)
        self.start = min(self.start, self.end - length) if self.rows else self.end - length
        self.rows += added
        self.lengths_R = np.concatenate([self.lengths_R, np.repeat(lengths, copies)])

    def advance(self) -> None:
        """Count the column that the model has written, and make room for the next."""
        self.end += 1
        self.lengths_R += 1
        if self.end == self._columns:
            self._place(self._slots, self.width)

    def keep(self, rows: int, *, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Shrink to the first `rows` rows, after moving rows from `source` to `target`.

        With no row left, the memory is freed: the learner needs it next.
        """
        self.lengths_R[target] = self.lengths_R[source]
        self.lengths_R = self.lengths_R[:rows]
        if not rows:
            self.layers = []
            self.start = self.end = self.rows = self._slots = self._columns = 0
            return
        if len(source):
            for layer in self.layers:
                for buffer in (layer.keys, layer.values):
                    buffer[target, :, self.start : self.end] = buffer[source, :, self.start : self.end]
        self.rows, self.start = rows, self.end - int(self.lengths_R.max())

    def hidden(self) -> Tensor | None:
        """What to add to attention scores, [R, 1, 1, C]: minus infinity in the stale columns left of shorter rows.

        C counts the columns in use and the one about to be written. None if all rows fill the columns in use. In
        float32, on the CPU.
        """
        stale_R = self.width - self.lengths_R
        if not stale_R.any():
            return None
        stale_RC = torch.from_numpy(np.arange(self.width + 1) < stale_R[:, None])
        return torch.zeros(stale_RC.shape).masked_fill_(stale_RC, -torch.inf)[:, None, None]

    def _place(self, slots: int, end: int) -> None:
        """Make `slots` slots, with the columns in use ending at `end` and at least one free column after it."""
        if slots <= self._slots and end == self.end < self._columns:
            return
        self._slots = max(slots, self._slots)
        self._columns = end + max(_SLACK, end // 4)
        for layer in self.layers:
            layer.move(self._slots, self._columns, end)
        self.start, self.end = end - self.width, end
