"""The paged cache and its kernel compute attention, however rows come and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from azr.rollout.local import kernel
from azr.rollout.local.kernel import PAGE
from azr.rollout.local.paged import PagedCache

POSITIONS = 400


def tables(width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, the sines' first half negated."""
    angles = torch.arange(POSITIONS)[:, None] / 100 ** (torch.arange(width // 2) / (width // 2))
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


@dataclass
class Rows:
    """The cache under test beside the plain keys and values of every row.

    Attributes:
        keys: of each row, [K, tokens, D], rotated.
        values: of each row, [K, tokens, D].
    """

    heads: int
    key_heads: int
    width: int
    cache: PagedCache = field(default_factory=PagedCache)
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.cos, self.sin = tables(self.width)

    def drawn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def join(self, lengths: list[int], copies: list[int]) -> None:
        padded = (len(lengths), self.key_heads, max(lengths), self.width)
        keys, values = self.drawn(*padded), self.drawn(*padded)
        for row, length in enumerate(lengths):  # what pads a prompt must not be read
            keys[row, :, length:] = values[row, :, length:] = torch.nan
        self.cache.append([(keys, values)], copies, np.array(lengths))
        for pool in (self.cache._pool.keys, self.cache._pool.values):
            pool[self.cache._pool._free] = np.nan  # fresh memory may hold anything
        for row, (length, count) in enumerate(zip(lengths, copies, strict=True)):
            self.keys += [keys[row, :, :length]] * count
            self.values += [values[row, :, :length]] * count

    def step(self) -> tuple[Tensor, Tensor]:
        """The cache's attention to one more token per row, and torch's."""
        joined = self.drawn(len(self.keys), self.heads + 2 * self.key_heads, self.width)
        self.cache.begin()
        said = self.cache.attend(0, joined, self.cos, self.sin, scale=0.3)
        self.cache.advance()
        expected = torch.stack([self.expected(row, joined[row]) for row in range(len(joined))])
        return said, expected.flatten(1)

    def expected(self, row: int, joined_HD: Tensor) -> Tensor:
        position, half = self.keys[row].shape[1], self.width // 2
        turned = torch.cat((joined_HD[:, half:], joined_HD[:, :half]), dim=1)
        rotated = joined_HD * self.cos[position] + turned * self.sin[position]
        key = rotated[self.heads : self.heads + self.key_heads, None]
        self.keys[row] = torch.cat((self.keys[row], key), dim=1)
        self.values[row] = torch.cat((self.values[row], joined_HD[-self.key_heads :, None]), dim=1)
        return functional.scaled_dot_product_attention(
            rotated[: self.heads, None], self.keys[row], self.values[row], scale=0.3, enable_gqa=True
        )[:, 0]

    def leave(self, gone: NDArray[np.bool_]) -> None:
        """Drop rows as the decoder does: the last rows that stay fill the gaps."""
        rows = len(gone) - int(gone.sum())
        target, source = np.flatnonzero(gone[:rows]), rows + np.flatnonzero(~gone[rows:])
        self.cache.keep(rows, source=source, target=target)
        for entries in (self.keys, self.values):
            for old, new in zip(source, target, strict=True):
                entries[new] = entries[old]
            del entries[rows:]


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int]:
    key_heads = draw(st.integers(1, 3))
    return key_heads * draw(st.integers(1, 3)), key_heads, 2 * draw(st.integers(1, 20))


prompts = st.lists(st.tuples(st.integers(1, 3 * PAGE + 1), st.integers(1, 3)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(shapes(), st.lists(st.tuples(prompts, st.integers(1, PAGE + 2), st.integers(0, 99)), min_size=1, max_size=4))
def test_attention_equals_torchs_while_rows_join_and_leave(
    shape: tuple[int, int, int], phases: list[tuple[list[tuple[int, int]], int, int]]
) -> None:
    rows = Rows(*shape)
    for joining, steps, seed in phases:
        rows.join([length for length, _ in joining], [copies for _, copies in joining])
        for _ in range(steps):
            torch.testing.assert_close(*rows.step(), atol=2e-6, rtol=1e-5)
        rows.leave(np.random.default_rng(seed).random(len(rows.keys)) < 0.5)


def test_pages_of_rows_that_left_are_used_again() -> None:
    rows = Rows(2, 1, 8)
    for _ in range(40):
        rows.join([2 * PAGE], [3])
        rows.step()
        rows.leave(np.arange(len(rows.keys)) > 0)
    assert len(rows.cache._pool.keys) < 80


def test_a_prompts_pages_stay_until_its_last_row_has_left() -> None:
    rows = Rows(2, 1, 8)
    rows.join([2 * PAGE], [2])
    rows.leave(np.array([True, False]))
    rows.join([2 * PAGE], [1])  # would overwrite them
    torch.testing.assert_close(*rows.step(), atol=2e-6, rtol=1e-5)


def test_the_memory_is_freed_with_the_last_row() -> None:
    rows = Rows(2, 1, 8)
    rows.join([5], [2])
    rows.leave(np.array([True, True]))
    assert not rows.cache._pool.keys.size


def said(threads: int, lengths: list[int]) -> Tensor:
    rows, before = Rows(4, 2, 16), torch.get_num_threads()
    rows.join(lengths, [1] * len(lengths))
    torch.set_num_threads(threads)
    try:
        return rows.step()[0]
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_changes_no_bit() -> None:
    lengths = [5, 40, 17, 3, 100]
    assert torch.equal(said(1, lengths), said(3, lengths))


def test_other_rows_change_no_bit_of_a_row() -> None:
    rows, joined = Rows(4, 2, 16), torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    rows.join([30, 5, 90], [1, 1, 1])
    rows.cache.begin()
    together = rows.cache.attend(0, joined, rows.cos, rows.sin, scale=0.3)
    rows.leave(np.array([True, True, False]))
    rows.cache.begin()
    alone = rows.cache.attend(0, joined[2:], rows.cos, rows.sin, scale=0.3)
    assert torch.equal(together[2:], alone)


def test_scores_far_below_the_highest_have_no_weight() -> None:
    rows = Rows(1, 1, 4)
    keys = torch.tensor([[-1e4, 0, 0, 0], [1e4, 0, 0, 0]])[None, None]
    rows.cache.append([(keys, torch.tensor([[5.0] * 4, [7.0] * 4])[None, None])], [1], np.array([2]))
    rows.cache.begin()
    joined = torch.tensor([[[1.0, 0, 0, 0], [-1e4, 0, 0, 0], [9.0] * 4]])
    none = torch.zeros(POSITIONS, 4)
    said = rows.cache.attend(0, joined, none + 1, none, scale=1.0)
    assert said.tolist() == [[7.0] * 4]


@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=20, deadline=None)
def test_the_norm_equals_torchs(rows: int, width: int, size: float) -> None:
    random = torch.Generator().manual_seed(rows * width)
    norm = SimpleNamespace(weight=torch.randn(width, generator=random), variance_epsilon=1e-5)
    x = size * torch.randn(rows, width, generator=random)
    expected = functional.rms_norm(x, (width,), norm.weight, norm.variance_epsilon)
    torch.testing.assert_close(kernel.normed(norm, x), expected, atol=1e-6, rtol=1e-5)
