"""Drawing tokens as `sampling.draw` does, compiled by numba: for float32 on a CPU, without a nucleus.

With a small vocabulary, the ten operations of `sampling.draw` take a sixth of a decoding step, most of it for starting
them.
"""

# Written for LLVM: plain indices, since slices of arrays in inner loops keep it from using vector instructions.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from azr.models.vectors import HIDDEN, compiled, exponential

_CHUNK = 64
"""Tokens whose mass is summed at once; the draw then looks for its token in one chunk."""

_NOTHING = np.float32(2e-38)
"""A mass up to this counts as zero: `exponential` returns no less than 2^-126."""


def _draw_one(
    logits_RV: NDArray[np.float32],
    row: int,
    temperature: np.float32,
    uniform: float,
    mass_V: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> tuple[int, np.float32]:
    size, greedy = len(mass_V), temperature == 0
    scale = np.float32(1) if greedy else np.float32(1) / temperature
    top = HIDDEN
    for v in range(size):
        top = logits_RV[row, v] if logits_RV[row, v] > top else top
    for v in range(size):
        mass_V[v] = exponential((logits_RV[row, v] - top) * scale)
    total, last = 0.0, 0
    for chunk in range((size + _CHUNK - 1) // _CHUNK):
        of_chunk = 0.0
        for v in range(chunk * _CHUNK, min(size, (chunk + 1) * _CHUNK)):
            of_chunk += np.float64(mass_V[v])
        sums[chunk] = of_chunk
        total += of_chunk
        if of_chunk > _CHUNK * _NOTHING:
            last = chunk
    chosen, rest, chunk = 0, uniform * total, 0
    if greedy:
        while logits_RV[row, chosen] < top:
            chosen += 1
    else:
        while chunk < last and rest >= sums[chunk]:
            rest -= sums[chunk]
            chunk += 1
        # Rounding may leave a rest behind the chunk's last token with mass, which is drawn then.
        for v in range(chunk * _CHUNK, min(size, (chunk + 1) * _CHUNK)):
            if mass_V[v] > _NOTHING and rest >= 0:
                chosen = v
                rest -= np.float64(mass_V[v])
    return chosen, (logits_RV[row, chosen] - top) * scale - np.float32(np.log(total))


draw_one = compiled(
    _draw_one, "Tuple((int64, float32))(float32[:,::1], int64, float32, float64, float32[::1], float64[::1])"
)
"""Draw a token for one row.

Args:
    logits_RV: logits of all rows; there may be more of them than tokens.
    row: which row.
    temperature: 0 takes the most probable token.
    uniform: a number in [0, 1).
    mass_V: space for a number per token. Its length is the number of tokens.
    sums: space for as many numbers.

Returns:
    the token's id, and its log-probability (nats) at this temperature.
"""


def _draw_all(
    logits_RV: NDArray[np.float32],
    temperature_R: NDArray[np.float32],
    uniform_R: NDArray[np.float64],
    ids_R: NDArray[np.int64],
    logprobs_R: NDArray[np.float32],
) -> None:
    rows, size = logits_RV.shape
    mass_V, sums = np.empty(size, np.float32), np.empty(size, np.float64)
    for r in range(rows):
        ids_R[r], logprobs_R[r] = draw_one(logits_RV, r, temperature_R[r], uniform_R[r], mass_V, sums)


_draw_rows = compiled(_draw_all, "void(float32[:,::1], float32[::1], float64[::1], int64[::1], float32[::1])")


def draw(
    logits_RV: Tensor, temperature_R: NDArray[np.float32], uniform_R: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw one token per row; see `sampling.draw`.

    Returns:
        token ids, and their log-probabilities (nats) at the row's temperature.
    """
    rows = len(logits_RV)
    ids_R, logprobs_R = np.empty(rows, np.int64), np.empty(rows, np.float32)
    _draw_rows(logits_RV.contiguous().numpy(), temperature_R, uniform_R, ids_R, logprobs_R)
    return ids_R, logprobs_R
