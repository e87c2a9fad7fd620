"""A key-value cache of few shapes: `RowCache` for a decoding step that is compiled (`azr.policy.compiled`).

As in `azr.policy.cache`, all rows end at the same column, `end`, and the mask hides what is stale. What the model sees
is wider: rows and columns are rounded up to buckets, so that a run meets a few dozen shapes and not one a token. What
lies beyond the rows in flight is computed and thrown away. A bucket is a view of one buffer from its first row and
column on: changing it copies nothing, and a shape that comes back finds its data at the same address, which is what a
recorded CUDA graph asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticLayer

ROWS, COLUMNS = 8, 352
"""The smallest buckets. The compiler takes a size of 1 apart from others, and equal sizes for the same one: with
11 x 32, no number of columns is ever one of rows, and all divide by 16, which suits attention's kernels."""


def bucket(size: int, least: int) -> int:
    """The smallest of least, 1.5 least, 2 least, 3 least, 4 least, ... that `size` fits into.

    Two to a doubling: rounding up costs a sixth on average, and 256 rows by 16,896 columns are at most 132 shapes.
    """
    power = least
    while power < size:
        power *= 2
    between = power * 3 // 4
    return between if between >= max(size, least) else power


def roomy(width: int) -> int:
    """Columns that suffice for rows of `width` tokens: with fewer than an eighth to spare, packing would not pay."""
    return bucket(width + 1 + width // 8, COLUMNS)


class _Layer(StaticLayer):  # type: ignore[misc]
    """One model layer: its buffers, [slots, heads, columns, width] each, and the bucket's view of them."""

    def __init__(self, owner: StaticCache, prefilled: DynamicLayer) -> None:
        super().__init__(max_cache_len=0)  # unused: the view's own shape counts
        self.owner = owner
        self.buffers = [prefilled.keys[:0, :, :0], prefilled.values[:0, :, :0]]
        self.is_initialized = True

    def look(self, rows: int, columns: int) -> None:
        """Show the model so many rows and columns."""
        self.keys, self.values = (_view(buffer, rows, columns) for buffer in self.buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the newest column and return all that is in view (called by the model's attention)."""
        self.keys.index_copy_(2, self.owner.end_1, key_states)
        self.values.index_copy_(2, self.owner.end_1, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns in view, and the first of them."""
        return self.keys.shape[2], 0

    def get_seq_length(self) -> Tensor:
        """Where the newest column goes: a tensor, for a number would be compiled in."""
        return self.owner.end_1


class StaticCache(Cache):  # type: ignore[misc]
    """A `transformers` cache over rows 0..rows-1 and columns start..end-1, seen as `slots` rows and `columns` columns.

    Attributes:
        rows, start, end: what is in use.
        slots, columns: the bucket.
        end_1: `end`, where the compiled step reads it.
        home: the buffers' addresses.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(layers=[])
        self.layers: list[_Layer] = []
        self.rows = self.start = self.end = self.slots = self.columns = 0
        self.end_1 = torch.zeros(1, dtype=torch.int64, device=device)
        torch._dynamo.mark_static_address(self.end_1)
        self.home: tuple[int, ...] = ()
        self._held = self._most = (0, 0)

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.end - self.start

    def append(self, prefilled: DynamicCache, copies: Sequence[int]) -> None:
        """Add rows at the end: row i of a left-padded prefill, `copies[i]` times over (see `RowCache.append`)."""
        length, added = prefilled.get_seq_length(), sum(copies)
        if not self.layers:
            self.layers = [_Layer(self, layer) for layer in prefilled.layers]
        self._place(self.rows + added, max(self.width, length))
        to = (slice(self.rows, self.rows + added), slice(None), slice(self.end - length, self.end))
        repeats = torch.tensor(copies, device=prefilled.layers[0].keys.device)
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            for buffer, new in zip(layer.buffers, (source.keys, source.values), strict=True):
                buffer[to] = new.repeat_interleave(repeats, dim=0)
        self.start = min(self.start, self.end - length) if self.rows else self.end - length
        self.rows += added

    def advance(self) -> None:
        """Count the column that the model has just written, and make room for the next."""
        self.end += 1
        self._place(self.rows, self.width)

    def keep(self, rows: int, width: int, *, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Shrink to the first `rows` rows and the last `width` columns, after moving rows from `source` to `target`.

        With no row left, the memory is given back: the learner is about to need it. The sizes are remembered, so that
        the next rows get all of it at once, with luck at the same addresses. What CUDA graphs hold besides is not
        given back: a pool of their own, with the temporaries and the logits of the largest step that was recorded.
        """
        if not rows:
            self.layers = []
            self.rows = self.start = self.end = self.slots = self.columns = 0
            self._held = (0, 0)
            return
        if len(source):
            for layer in self.layers:
                for buffer in layer.buffers:
                    buffer[target, :, self.start : self.end] = buffer[source, :, self.start : self.end]
        self.rows, self.start = rows, self.end - width
        self._place(rows, width)

    def _place(self, rows: int, width: int) -> None:
        """Have `rows` rows, `width` columns and one more in a bucket that is not larger than it has to be.

        Stale columns on the left are packed away only where a roomy bucket becomes a smaller one: between two packings
        lie at least as many tokens as an eighth of the width, and packing costs about as much as a few of them.
        """
        end = self.end if width <= self.end < roomy(width) else width
        slots, columns = bucket(rows, ROWS), bucket(end + 1, COLUMNS)
        grown = slots > self._held[0] or columns > self._held[1]
        if grown:
            self._most = (max(slots, self._most[0]), max(columns, self._most[1]))
            self._held = self._most
        if grown or end != self.end:
            self._move(end, anew=grown)
        if grown or (slots, columns) != (self.slots, self.columns):
            self.slots, self.columns = slots, columns
            for layer in self.layers:
                layer.look(slots, columns)
        self.start, self.end = end - self.width, end
        self.end_1.fill_(end)

    def _move(self, end: int, *, anew: bool) -> None:
        """Have the columns in use end at `end`, in buffers of the size held where they are made `anew`.

        Zeros and not `empty`: a hidden column has weight 0, and 0 x NaN would still be NaN. The buffers are one column
        wider than any view, for the compiler takes a view that is a whole buffer for a shape of its own.
        """
        used = (slice(self.rows), slice(None), slice(self.start, self.end))
        to = (slice(self.rows), slice(None), slice(end - self.width, end))
        slots, columns = self._held
        for layer in self.layers:
            for number, old in enumerate(layer.buffers):
                if anew:
                    layer.buffers[number] = old.new_zeros((slots, old.shape[1], columns + 1, old.shape[3]))
                layer.buffers[number][to] = old[used] if anew else old[used].clone()
        self.home = tuple(buffer.data_ptr() for layer in self.layers for buffer in layer.buffers)


def _view(buffer: Tensor, rows: int, columns: int) -> Tensor:
    view = buffer[:rows, :, :columns]
    torch._dynamo.mark_static_address(view)  # recorded where it lies, and not copied to where a graph wants it
    torch._dynamo.maybe_mark_dynamic(view, (0, 2))  # one compilation for all buckets
    return view
