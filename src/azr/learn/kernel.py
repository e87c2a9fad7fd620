"""Attention over a tree of tokens, and its gradient, compiled by numba: the learner's on a CPU.

A token attends to itself and to those before it on its branch (`azr.learn.prefixes.Tree`). Branches come one after the
other, each of which leaves the one before. So the tokens of the current branch are a stack: the next branch pops those
that it does not share, and pushes its own. Keys and values are put on the stack once. Their gradients are summed up
there, and leave with them. No token attends twice, and nothing is padded.

torch's attention needs whole rollouts, in which a prompt's tokens attend once for each attempt. Times are in
docs/experiments.md; why numba is in docs/decisions/0021-attention-by-numba.md.
"""

# Written for LLVM: plain indices, since slices of arrays in inner loops keep it from using vector instructions.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azr.models.vectors import LANES, compiled, products, softmax

_TILE = 4
"""Rows of a tile of a product. More are no faster here, and would not fit the registers of smaller processors."""

_QUERIES = 64
"""Queries whose weights are in memory at once; a multiple of `_TILE`."""

_add = products(_TILE)


# Up to _QUERIES queries at a time. Their weights are [_QUERIES, C], C a multiple of LANES. The first query sees
# `before` tokens and itself. Rows are computed _TILE at a time, and columns LANES at a time, up to the last that one of
# these rows sees. `W` is the width D of a head, rounded up to LANES.


def _score_all(
    rows_HQW: NDArray[np.float32],
    h: int,
    count: int,
    pages: NDArray[np.float32],
    k: int,
    before: int,
    scores_QC: NDArray[np.float32],
) -> None:
    """Products of a head's first `count` rows with the tokens that each sees. Pages are [K, C / LANES, D, LANES]."""
    wide, columns, width = rows_HQW.shape[2], scores_QC.shape[1], pages.shape[2]
    rows_at, pages_at = h * _QUERIES * wide, k * columns * width
    for r in range(0, count, _TILE):
        seen = before + min(r + _TILE, count)
        for c in range(0, seen, LANES):
            for i in range(r, r + _TILE):
                for lane in range(LANES):
                    scores_QC[i, c + lane] = 0
            at, start = rows_at + r * wide, pages_at + c * width
            _add(scores_QC, r * columns + c, columns, rows_HQW, at, wide, 1, pages, start, LANES, width)


_score = compiled(_score_all, "void(float32[:,:,::1], int64, int64, float32[:,:,:,::1], int64, int64, float32[:,::1])")


def _weigh_all(
    queries_HQW: NDArray[np.float32],
    h: int,
    count: int,
    keys: NDArray[np.float32],
    k: int,
    before: int,
    weights_QC: NDArray[np.float32],
) -> None:
    """Weights of the tokens that each query of a head sees; 0 for the others."""
    _score(queries_HQW, h, count, keys, k, before, weights_QC)
    for i in range(-(-count // _TILE) * _TILE):
        own = before + i + 1 if i < count else 0
        if own:
            softmax(weights_QC[i, :own])
        seen = before + min((i // _TILE + 1) * _TILE, count)
        for c in range(own, -(-seen // LANES) * LANES):
            weights_QC[i, c] = 0


_weigh = compiled(_weigh_all, "void(float32[:,:,::1], int64, int64, float32[:,:,:,::1], int64, int64, float32[:,::1])")


def _mix_all(
    weights_QC: NDArray[np.float32],
    count: int,
    rows_KCW: NDArray[np.float32],
    k: int,
    before: int,
    out_HQW: NDArray[np.float32],
    h: int,
) -> None:
    """For each query the sum of the tokens' rows by its weights."""
    wide, columns = out_HQW.shape[2], weights_QC.shape[1]
    rows_at, out_at = k * columns * wide, h * _QUERIES * wide
    for r in range(0, count, _TILE):
        for i in range(r, r + _TILE):
            for d in range(wide):
                out_HQW[h, i, d] = 0
        seen = before + min(r + _TILE, count)
        for d in range(0, wide, LANES):
            at, start = out_at + r * wide + d, rows_at + d
            _add(out_HQW, at, wide, weights_QC, r * columns, columns, 1, rows_KCW, start, wide, seen)


_mix = compiled(_mix_all, "void(float32[:,::1], int64, float32[:,:,::1], int64, int64, float32[:,:,::1], int64)")


def _spread_all(
    weights_QC: NDArray[np.float32],
    count: int,
    rows_HQW: NDArray[np.float32],
    h: int,
    before: int,
    out_KCW: NDArray[np.float32],
    k: int,
) -> None:
    """Add to each token's row the sum of the queries' rows by its weights with them."""
    wide, columns = out_KCW.shape[2], weights_QC.shape[1]
    rows_at, out_at = h * _QUERIES * wide, k * columns * wide
    for c in range(0, before + count, _TILE):
        r = max(0, (c - before) // _TILE * _TILE)  # the first tile of queries that see one of these tokens
        for d in range(0, wide, LANES):
            at, start = out_at + c * wide + d, rows_at + r * wide + d
            _add(out_KCW, at, wide, weights_QC, r * columns + c, 1, columns, rows_HQW, start, wide, count - r)


_spread = compiled(_spread_all, "void(float32[:,::1], int64, float32[:,:,::1], int64, int64, float32[:,:,::1], int64)")


# The heads of one token. Arrays are lines of numbers here, each with the offset of the first head and the step from one
# head to the next.


def _turn_heads(
    heads: int,
    x: NDArray[np.float32],
    at: int,
    step: int,
    scale: np.float32,
    cos_PD: NDArray[np.float32],
    sin_PD: NDArray[np.float32],
    position: int,
    out: NDArray[np.float32],
    out_at: int,
    out_step: int,
) -> None:
    """Rotate queries or keys by their position; with the signs of all sines reversed, turn a gradient back."""
    half = cos_PD.shape[1] // 2
    for h in range(heads):
        start, to = at + h * step, out_at + h * out_step
        for d in range(half):
            low, high = x[start + d] * scale, x[start + d + half] * scale
            out[to + d] = low * cos_PD[position, d] + high * sin_PD[position, d]
            out[to + d + half] = high * cos_PD[position, d + half] + low * sin_PD[position, d + half]


_turn = compiled(
    _turn_heads,
    "void(int64, float32[::1], int64, int64, float32, float32[:,::1], float32[:,::1], int64, float32[::1], int64,"
    " int64)",
)


def _put_heads(x: NDArray[np.float32], at: int, step: int, pages: NDArray[np.float32], c: int) -> None:
    """Make a token's heads column `c` of pages, [K, C / LANES, D, LANES]."""
    for k in range(pages.shape[0]):
        for d in range(pages.shape[2]):
            pages[k, c // LANES, d, c % LANES] = x[at + k * step + d]


_put = compiled(_put_heads, "void(float32[::1], int64, int64, float32[:,:,:,::1], int64)")


def _copy_heads(
    heads: int,
    width: int,
    x: NDArray[np.float32],
    at: int,
    step: int,
    out: NDArray[np.float32],
    out_at: int,
    out_step: int,
) -> None:
    for h in range(heads):
        for d in range(width):
            out[out_at + h * out_step + d] = x[at + h * step + d]


_copy = compiled(_copy_heads, "void(int64, int64, float32[::1], int64, int64, float32[::1], int64, int64)")


# Both passes, of the key heads from `first` to before `last`, with their queries' heads.


def _attend_all(
    q_FHD: NDArray[np.float32],
    k_FKD: NDArray[np.float32],
    v_FKD: NDArray[np.float32],
    cos_PD: NDArray[np.float32],
    sin_PD: NDArray[np.float32],
    scale: np.float32,
    starts: NDArray[np.int64],
    before_S: NDArray[np.int64],
    longest: int,
    first: int,
    last: int,
    said_FHD: NDArray[np.float32],
) -> None:
    width, key_heads, group = q_FHD.shape[2], last - first, q_FHD.shape[1] // k_FKD.shape[1]
    heads, token, key_token = key_heads * group, q_FHD.shape[1] * width, k_FKD.shape[1] * width
    pages, wide = (
        -(-longest // LANES) | 1,
        -(-width // LANES) * LANES,
    )  # odd, so that rows start in all parts of a cache
    rows, columns, one = _QUERIES * wide, pages * LANES, np.float32(1)
    keys, key = np.zeros((key_heads, pages, width, LANES), np.float32), np.zeros(key_heads * width, np.float32)
    values_KCW, weights_QC = np.zeros((key_heads, columns, wide), np.float32), np.zeros((_QUERIES, columns), np.float32)
    queries_HQW, said_HQW = (
        np.zeros((heads, _QUERIES, wide), np.float32),
        np.zeros((heads, _QUERIES, wide), np.float32),
    )
    queries, said, values = queries_HQW.reshape(-1), said_HQW.reshape(-1), values_KCW.reshape(-1)
    q_all, k_all, v_all, said_all = q_FHD.reshape(-1), k_FKD.reshape(-1), v_FKD.reshape(-1), said_FHD.reshape(-1)
    for s in range(len(before_S)):
        start, end, shared = starts[s], starts[s + 1], before_S[s]
        for t in range(start, end):
            c, at = shared + t - start, t * key_token + first * width
            _turn(key_heads, k_all, at, width, one, cos_PD, sin_PD, c, key, 0, width)
            _put(key, 0, width, keys, c)
            _copy(key_heads, width, v_all, at, width, values, c * wide, columns * wide)
        for t in range(start, end, _QUERIES):
            count, before = min(_QUERIES, end - t), shared + t - start
            for i in range(count):
                at = (t + i) * token + first * group * width
                _turn(heads, q_all, at, width, scale, cos_PD, sin_PD, before + i, queries, i * wide, rows)
            for h in range(heads):
                _weigh(queries_HQW, h, count, keys, h // group, before, weights_QC)
                _mix(weights_QC, count, values_KCW, h // group, before, said_HQW, h)
            for i in range(count):
                at = (t + i) * token + first * group * width
                _copy(heads, width, said, i * wide, rows, said_all, at, width)


_FORWARD = (
    "float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32,"
    " int64[::1], int64[::1], int64, int64, int64"
)
attend = compiled(_attend_all, f"void({_FORWARD}, float32[:,:,::1])")


def _attend_back(
    q_FHD: NDArray[np.float32],
    k_FKD: NDArray[np.float32],
    v_FKD: NDArray[np.float32],
    cos_PD: NDArray[np.float32],
    sin_PD: NDArray[np.float32],
    scale: np.float32,
    starts: NDArray[np.int64],
    before_S: NDArray[np.int64],
    longest: int,
    first: int,
    last: int,
    of_said_FHD: NDArray[np.float32],
    of_q_FHD: NDArray[np.float32],
    of_k_FKD: NDArray[np.float32],
    of_v_FKD: NDArray[np.float32],
) -> None:
    width, key_heads, group = q_FHD.shape[2], last - first, q_FHD.shape[1] // k_FKD.shape[1]
    heads, token, key_token = key_heads * group, q_FHD.shape[1] * width, k_FKD.shape[1] * width
    pages, wide = -(-longest // LANES) | 1, -(-width // LANES) * LANES
    rows, columns, one, back_PD = _QUERIES * wide, pages * LANES, np.float32(1), -sin_PD
    keys = np.zeros((key_heads, pages, width, LANES), np.float32)
    keys_KCW, queries_HQW = (
        np.zeros((key_heads, columns, wide), np.float32),
        np.zeros((heads, _QUERIES, wide), np.float32),
    )
    weights_QC = np.zeros((_QUERIES, columns), np.float32)
    values, of_weights_QC = np.zeros_like(keys), np.zeros_like(weights_QC)
    of_keys_KCW, of_values_KCW = np.zeros_like(keys_KCW), np.zeros_like(keys_KCW)
    of_queries_HQW, of_said_HQW = np.zeros_like(queries_HQW), np.zeros_like(queries_HQW)
    queries, of_queries, of_said = queries_HQW.reshape(-1), of_queries_HQW.reshape(-1), of_said_HQW.reshape(-1)
    key_rows, of_keys, of_values = keys_KCW.reshape(-1), of_keys_KCW.reshape(-1), of_values_KCW.reshape(-1)
    q_all, k_all, v_all, of_said_all = q_FHD.reshape(-1), k_FKD.reshape(-1), v_FKD.reshape(-1), of_said_FHD.reshape(-1)
    of_q_all, of_k_all, of_v_all = of_q_FHD.reshape(-1), of_k_FKD.reshape(-1), of_v_FKD.reshape(-1)
    token_C, top = np.zeros(columns, np.int64), 0
    for s in range(len(before_S) + 1):
        shared = before_S[s] if s < len(before_S) else 0
        for c in range(shared, top):  # pop
            at = token_C[c] * key_token + first * width
            _turn(key_heads, of_keys, c * wide, columns * wide, one, cos_PD, back_PD, c, of_k_all, at, width)
            _copy(key_heads, width, of_values, c * wide, columns * wide, of_v_all, at, width)
            for k in range(key_heads):
                for d in range(width):
                    of_keys_KCW[k, c, d] = of_values_KCW[k, c, d] = 0
        if s == len(before_S):
            break
        start, end, top = starts[s], starts[s + 1], shared
        for t in range(start, end):  # push
            at = t * key_token + first * width
            _turn(key_heads, k_all, at, width, one, cos_PD, sin_PD, top, key_rows, top * wide, columns * wide)
            _put(key_rows, top * wide, columns * wide, keys, top)
            _put(v_all, at, width, values, top)
            token_C[top] = t
            top += 1
        for t in range(start, end, _QUERIES):
            count, before = min(_QUERIES, end - t), shared + t - start
            for i in range(count):
                at = (t + i) * token + first * group * width
                _turn(heads, q_all, at, width, scale, cos_PD, sin_PD, before + i, queries, i * wide, rows)
                _copy(heads, width, of_said_all, at, width, of_said, i * wide, rows)
            for h in range(heads):
                k = h // group
                _weigh(queries_HQW, h, count, keys, k, before, weights_QC)
                _spread(weights_QC, count, of_said_HQW, h, before, of_values_KCW, k)
                _score(of_said_HQW, h, count, values, k, before, of_weights_QC)
                for i in range(count):  # softmax's gradient: that of the scores
                    mean = np.float32(0)
                    for c in range(before + i + 1):
                        mean += weights_QC[i, c] * of_weights_QC[i, c]
                    seen = before + min((i // _TILE + 1) * _TILE, count)
                    for c in range(-(-seen // LANES) * LANES):
                        of_weights_QC[i, c] = weights_QC[i, c] * (of_weights_QC[i, c] - mean)
                _mix(of_weights_QC, count, keys_KCW, k, before, of_queries_HQW, h)
                _spread(of_weights_QC, count, queries_HQW, h, before, of_keys_KCW, k)
            for i in range(count):
                at = (t + i) * token + first * group * width
                _turn(heads, of_queries, i * wide, rows, scale, cos_PD, back_PD, before + i, of_q_all, at, width)


attend_backward = compiled(
    _attend_back, f"void({_FORWARD}, float32[:,:,::1], float32[:,:,::1], float32[:,:,::1], float32[:,:,::1])"
)
