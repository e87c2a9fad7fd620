"""A key-value cache in pages, in which the rows of a prompt share its keys and values. For float32 on a CPU.

A row's tokens lie in pages of `kernel.PAGE` tokens: those of its prompt, which all of its rows share, and then its own.
So nothing is padded to the longest row, and nothing is copied when rows come and go: a page without a row is free for
the next one. The kernel that reads the pages is in `kernel.py`; times are in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.models.vectors import in_threads
from azr.rollout.local import kernel, steps
from azr.rollout.local.kernel import PAGE

Layers: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of each layer."""

_SLACK = 64  # free pages after an allocation, at least


class PagedCache:
    """Keys and values of prompts, each once, and of the rows that continue them."""

    def __init__(self) -> None:
        self._pool = _Pool()
        self._tables_RN = np.zeros((0, 1), np.int64)  # pages of each row
        self._held_R = np.zeros(0, np.int64)  # how many of them are in use
        self._prompt_R = np.zeros(0, np.int64)  # tokens of the prompt
        self._own_R = np.zeros(0, np.int64)  # tokens of the row's own

    def append(self, seen: Layers, copies: Sequence[int], lengths: NDArray[np.int64]) -> None:
        """Add rows at the end: prompt i, `copies[i]` times over.

        Args:
            seen: keys and values of each layer, [P, K, L, D] each, of prompts that are padded on the right.
            copies: how many completions of each prompt are to be drawn.
            lengths: tokens of each prompt.
        """
        held_P = -(-lengths // PAGE)
        used_PN = np.arange(int(held_P.max())) < held_P[:, None]
        tables_PN = np.zeros_like(used_PN, np.int64)
        tables_PN[used_PN] = self._pool.fill(seen, used_PN, np.repeat(copies, held_P))
        width = max(self._tables_RN.shape[1], tables_PN.shape[1])
        tables = (self._tables_RN, np.repeat(tables_PN, copies, axis=0))
        self._tables_RN = np.concatenate([_widened(table, width) for table in tables])
        self._held_R = np.concatenate([self._held_R, np.repeat(held_P, copies)])
        self._prompt_R = np.concatenate([self._prompt_R, np.repeat(lengths, copies)])
        self._own_R = np.concatenate([self._own_R, np.zeros(sum(copies), np.int64)])

    @property
    def longest(self) -> int:
        """The most tokens that it holds of a row."""
        return int((self._prompt_R + self._own_R).max())

    def begin(self, steps: int = 1) -> None:
        """Give each row the pages that its next tokens need; called before the layers of a step.

        Args:
            steps: the number of tokens.
        """
        needed_R = -(-self._prompt_R // PAGE) + (self._own_R + steps - 1) // PAGE + 1
        while len(short := np.flatnonzero(self._held_R < needed_R)):
            column_R = self._held_R[short]
            if column_R.max() >= self._tables_RN.shape[1]:
                self._tables_RN = _widened(self._tables_RN, int(column_R.max()) * 5 // 4 + 1)
            self._tables_RN[short, column_R] = self._pool.take(np.ones(len(short), np.int64))
            self._held_R[short] += 1

    def attend(self, layer: int, joined_RHD: Tensor, cos_PD: Tensor, sin_PD: Tensor, *, scale: float) -> Tensor:
        """Attention of each row's newest token to its prompt, its tokens so far and itself, [R, H * D].

        Args:
            layer: its number.
            joined_RHD: queries, keys and values of the newest tokens, not yet rotated: H, K and K heads.
            cos_PD: cosines of each position.
            sin_PD: sines of each position, the first half negated.
            scale: factor of the scores.
        """
        rows, joined_heads, width = joined_RHD.shape
        said_RHD = np.empty((rows, joined_heads - 2 * self._pool.keys.shape[2], width), np.float32)
        arrays = joined_RHD.numpy(), np.arange(rows), layer, *self._pages(cos_PD, sin_PD, scale)
        in_threads(rows, lambda first, last: kernel.attend(*arrays, first, last, said_RHD))
        return torch.from_numpy(said_RHD).flatten(1)

    def decode(
        self,
        count: int,
        weights: steps.Weights,
        cos_PD: Tensor,
        sin_PD: Tensor,
        slots: steps.Arrays,
        eos: NDArray[np.int64],
        *,
        scale: float,
    ) -> None:
        """Draw up to `count` tokens for each row, and count them.

        Args:
            count: as many as the slots have room for.
            weights: of the model.
            cos_PD: cosines of each position.
            sin_PD: sines of each position, the first half negated.
            slots: see `steps.decode`.
            eos: tokens that end a row.
            scale: factor of the scores.
        """
        self.begin(count)
        arrays = weights.around, weights.layers, self._pages(cos_PD, sin_PD, scale), slots, eos
        in_threads(len(self._own_R), lambda first, last: steps.decode(count, first, last, *arrays))

    def _pages(self, cos_PD: Tensor, sin_PD: Tensor, scale: float) -> tuple[Any, ...]:
        """Arguments of both kernels, from `cos_PD` to `scale`."""
        tables = self._tables_RN, self._prompt_R, self._own_R
        return cos_PD.numpy(), sin_PD.numpy(), self._pool.keys, self._pool.values, *tables, np.float32(scale)

    def advance(self) -> None:
        """Count the token that `attend` has written."""
        self._own_R += 1

    def keep(self, rows: int, *, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Shrink to the first `rows` rows, after moving rows from `source` to `target`.

        With no row left, the memory is freed: the learner needs it next.
        """
        if rows:
            gone_R = np.arange(len(self._own_R)) >= rows
            gone_R[target], gone_R[source] = True, False
            used_RN = np.arange(self._tables_RN.shape[1]) < self._held_R[:, None]
            self._pool.release(self._tables_RN[used_RN & gone_R[:, None]])
        else:
            self._pool = _Pool()
        for array in (self._tables_RN, self._held_R, self._prompt_R, self._own_R):
            array[target] = array[source]
        self._tables_RN, self._held_R = self._tables_RN[:rows], self._held_R[:rows]
        self._prompt_R, self._own_R = self._prompt_R[:rows], self._own_R[:rows]


class _Pool:
    """Pages of all layers.

    Attributes:
        keys: [pages, layers, heads, width, PAGE].
        values: [pages, layers, heads, PAGE, width].
    """

    def __init__(self) -> None:
        self.keys, self.values = (np.empty((0, 0, 0, 0, 0), np.float32) for _ in range(2))
        self._uses = np.zeros(0, np.int64)  # rows that use each page
        self._free = np.zeros(0, np.int64)  # numbers of free pages, in order

    def fill(self, seen: Layers, used_PN: NDArray[np.bool_], uses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Put prompts into pages, and return the pages' numbers.

        Args:
            seen: keys and values of each layer, [P, K, L, D] each.
            used_PN: whether a prompt has an n-th page.
            uses: rows of each page.
        """
        if not self.keys.size:
            _, heads, _, width = seen[0][0].shape
            self.keys = np.empty((0, len(seen), heads, width, PAGE), np.float32)
            self.values = np.empty((0, len(seen), heads, PAGE, width), np.float32)
        pages = self.take(uses)
        prompt, number = np.nonzero(used_PN)
        # Columns behind the last token are never read: any column will do.
        columns = np.minimum(PAGE * number[:, None] + np.arange(PAGE), seen[0][0].shape[2] - 1)
        for layer, (new_keys, new_values) in enumerate(seen):
            self.keys[pages, layer] = new_keys.numpy()[prompt[:, None], :, columns].transpose(0, 2, 3, 1)
            self.values[pages, layer] = new_values.numpy()[prompt[:, None], :, columns].transpose(0, 2, 1, 3)
        return pages

    def take(self, uses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Free pages, for so many rows each."""
        if len(self._free) < len(uses):
            self._grow(len(uses) - len(self._free))
        pages, self._free = self._free[: len(uses)], self._free[len(uses) :]
        self._uses[pages] = uses
        return pages

    def release(self, pages: NDArray[np.int64]) -> None:
        """Count rows' pages, with repetition, as used by one row less each."""
        np.subtract.at(self._uses, pages, 1)
        unused = np.unique(pages[self._uses[pages] == 0])
        self._free = np.sort(np.concatenate([self._free, unused]))

    def _grow(self, missing: int) -> None:
        """Add pages, at least as many as are missing."""
        before = len(self._uses)
        after = before + missing + max(_SLACK, (before + missing) // 16)
        for pool in (self.keys, self.values):
            # In place where the system can: a copy would need the memory of both. No view of the pool outlives a call.
            pool.resize((after, *pool.shape[1:]), refcheck=False)
        self._uses = np.concatenate([self._uses, np.zeros(after - before, np.int64)])
        self._free = np.concatenate([self._free, np.arange(before, after)])


def _widened(table_RN: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The table with columns of zeros on its right."""
    return np.pad(table_RN, ((0, 0), (0, width - table_RN.shape[1])))
