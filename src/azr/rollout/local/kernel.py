"""Attention of one new token per row over pages of keys and values, and a norm, compiled by numba.

With a single query per row and head, torch's attention on a CPU takes about 5 µs per row and head, however little it
reads, and needs all rows padded to one length. This kernel reads what a row has and no more. It also rotates the new
queries and keys and writes the new keys and values. A row's result depends on that row alone, so neither the other rows
nor the number of threads changes it.

In a page, keys lie with their columns innermost and values with their dimensions innermost, so that both sums run over
neighbours in memory, sixteen at a time (azr/models/vectors.py). Why numba: docs/decisions/0021-attention-by-numba.md.
"""

# Written for LLVM: plain indices, since slices of arrays in inner loops keep it from using vector instructions.

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.models.vectors import HIDDEN, LANES, compiled, products, softmax

PAGE = LANES
"""Tokens per page: one vector of scores."""

_add = products(1)


def _attend(
    joined_RHD: NDArray[np.float32],
    rows_R: NDArray[np.int64],
    layer: int,
    cos_PD: NDArray[np.float32],
    sin_PD: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    tables_SN: NDArray[np.int64],
    prompt_S: NDArray[np.int64],
    own_S: NDArray[np.int64],
    scale: np.float32,
    first: int,
    last: int,
    said_RHD: NDArray[np.float32],
) -> None:
    width, heads, key_heads, layers = joined_RHD.shape[2], said_RHD.shape[1], keys.shape[2], keys.shape[1]
    half, whole, group = width // 2, width // PAGE * PAGE, heads // key_heads
    query_HD = np.empty((heads, width), np.float32)
    scores = np.empty(heads * PAGE * tables_SN.shape[1], np.float32)
    for r in range(first, last):
        slot = rows_R[r]
        prompt, own = prompt_S[slot], own_S[slot]
        position, prompt_pages = prompt + own, (prompt + PAGE - 1) // PAGE
        newest, at = prompt_pages + own // PAGE, own % PAGE
        page = tables_SN[slot, newest]
        for k in range(key_heads):
            for d in range(half):
                e, low, high = d + half, joined_RHD[r, heads + k, d], joined_RHD[r, heads + k, d + half]
                keys[page, layer, k, d, at] = low * cos_PD[position, d] + high * sin_PD[position, d]
                keys[page, layer, k, e, at] = high * cos_PD[position, e] + low * sin_PD[position, e]
            for d in range(width):
                values[page, layer, k, at, d] = joined_RHD[r, heads + key_heads + k, d]
        for h in range(heads):
            for d in range(half):
                low, high = joined_RHD[r, h, d], joined_RHD[r, h, d + half]
                query_HD[h, d] = (low * cos_PD[position, d] + high * sin_PD[position, d]) * scale
                query_HD[h, d + half] = (high * cos_PD[position, d + half] + low * sin_PD[position, d + half]) * scale
        columns = (newest + 1) * PAGE
        for c in range(heads * columns):
            scores[c] = 0
        for n in range(newest + 1):
            page = tables_SN[slot, n]
            for h in range(heads):
                keys_at = ((page * layers + layer) * key_heads + h // group) * width * PAGE
                _add(scores, h * columns + n * PAGE, 0, query_HD, h * width, 0, 1, keys, keys_at, PAGE, width)
        for h in range(heads):
            start = h * columns
            for c in range(start + prompt, start + prompt_pages * PAGE):
                scores[c] = HIDDEN
            for c in range(start + newest * PAGE + at + 1, start + columns):
                scores[c] = HIDDEN
            softmax(scores[start : start + columns])
            for d in range(width):
                said_RHD[r, h, d] = 0
        for n in range(newest + 1):
            page, count = tables_SN[slot, n], PAGE
            if n == newest:  # what lies behind was never written and could be NaN
                count = at + 1
            elif n == prompt_pages - 1:
                count = prompt - n * PAGE
            for h in range(heads):
                k, start = h // group, h * columns + n * PAGE
                values_at = ((page * layers + layer) * key_heads + k) * width * PAGE
                for d in range(0, whole, PAGE):
                    said_at = (r * heads + h) * width + d
                    _add(said_RHD, said_at, 0, scores, start, 0, 1, values, values_at + d, width, count)
                for d in range(whole, width):
                    for c in range(count):
                        said_RHD[r, h, d] += scores[start + c] * values[page, layer, k, c, d]


attend = compiled(
    _attend,
    "void(float32[:,:,::1], int64[::1], int64, float32[:,::1], float32[:,::1], float32[:,:,:,:,::1],"
    " float32[:,:,:,:,::1], int64[:,::1], int64[::1], int64[::1], float32, int64, int64, float32[:,:,::1])",
)
"""Write rows' newest keys and values into their pages, and attend to all of each row's tokens.

Args:
    joined_RHD: queries, keys and values of the new tokens, not yet rotated: H, K and K heads.
    rows_R: the slot of each row.
    layer: the layer's number.
    cos_PD: cosines of each position.
    sin_PD: sines of each position, the first half negated (rotate_half's minus).
    keys: [pages, layers, K, D, PAGE].
    values: [pages, layers, K, PAGE, D].
    tables_SN: pages of each slot's row: its prompt's, then those of its own tokens.
    prompt_S: tokens of its prompt, at least 1.
    own_S: tokens of its own that the pages hold, without the new one.
    scale: factor of the scores.
    first: the first row to compute.
    last: the row after the last.
    said_RHD: the result. H is a multiple of K.
"""


def _scaled(
    x_RE: NDArray[np.float32], weight_E: NDArray[np.float32], epsilon: float, out_RE: NDArray[np.float32]
) -> None:
    for r in range(x_RE.shape[0]):
        squares = np.float32(0)
        for e in range(x_RE.shape[1]):
            squares += x_RE[r, e] * x_RE[r, e]
        factor = np.float32(1) / np.sqrt(squares / np.float32(x_RE.shape[1]) + np.float32(epsilon))
        for e in range(x_RE.shape[1]):
            out_RE[r, e] = x_RE[r, e] * factor * weight_E[e]


scale_rows = compiled(_scaled, "void(float32[:,::1], float32[::1], float64, float32[:,::1])")
"""RMS norm of rows [R, E], by a weight and an epsilon, to another array."""


def normed(norm: Any, x_RE: Tensor) -> Tensor:
    """A layer's RMS norm, as `azr.models.plain.normed`, without a gradient.

    torch makes several passes: for 36 rows of 128 it takes 18 µs, this 5 µs.
    """
    out_RE = torch.empty_like(x_RE)
    scale_rows(x_RE.numpy(), norm.weight.detach().numpy(), norm.variance_epsilon, out_RE.numpy())
    return out_RE
