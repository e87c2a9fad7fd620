"""Linear layers for a few rows at a time, in float32 on a CPU: those of a decoding step. Compiled by numba.

MKL and oneDNN prepare each product for longer than a small one takes. With weights in blocks of 16 outputs, which are
arranged once per update, there is nothing to prepare. bench/products.py compares.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.models.vectors import LANES, compiled, products

TILE = 8
"""Rows of a tile. Its sums fill eight vector registers of 512 bits."""

_add = products(TILE)


def _multiply_all(
    x_RI: NDArray[np.float32], blocks: NDArray[np.float32], bias_O: NDArray[np.float32], out_RO: NDArray[np.float32]
) -> None:
    rows, inputs, outputs = x_RI.shape[0], x_RI.shape[1], out_RO.shape[1]
    for o in range(0, outputs, LANES):
        for at in range(0, rows, TILE):
            # The last tile begins among the rows of the one before, and computes some of them again, to the same bits.
            r = min(at, rows - TILE)
            for i in range(r, r + TILE):
                for lane in range(LANES):
                    out_RO[i, o + lane] = bias_O[o + lane]
            _add(out_RO, r * outputs + o, outputs, x_RI, r * inputs, inputs, 1, blocks, o * inputs, LANES, inputs)


multiply = compiled(_multiply_all, "void(float32[:,::1], float32[:,:,::1], float32[::1], float32[:,::1])")
"""Multiply at least 8 rows: of x [R, I], by blocks and with biases of a `Dense`, to out [R, O]."""


class Dense:
    """Linear layers of one input, joined.

    Args:
        weights: [O, I] each.
        biases: [O] each, or None.

    Attributes:
        blocks: the joined weights, [ceil(O / 16), I, 16].
        bias_O: the joined biases, with zeros up to a multiple of 16.
        padded: whether there are such zeros.
    """

    def __init__(self, weights: list[Tensor], biases: list[Tensor | None]) -> None:
        weight_OI = torch.cat(weights).detach().numpy()
        self._outputs, inputs = weight_OI.shape
        blocks = -(-self._outputs // LANES)
        self.padded = self._outputs % LANES > 0
        padded = np.zeros((blocks * LANES, inputs), np.float32)
        padded[: self._outputs] = weight_OI
        self.blocks = np.ascontiguousarray(padded.reshape(blocks, LANES, inputs).transpose(0, 2, 1))
        self.bias_O = np.zeros(blocks * LANES, np.float32)
        if biases[0] is not None:
            self.bias_O[: self._outputs] = torch.cat(biases).detach().numpy()  # type: ignore[arg-type]

    def __call__(self, x_RI: Tensor) -> Tensor:
        """The layers' outputs, [R, O], for at least 8 rows. A row's result depends on that row alone."""
        assert len(x_RI) >= TILE
        out_RO = np.empty((len(x_RI), len(self.bias_O)), np.float32)
        multiply(x_RI.numpy(), self.blocks, self.bias_O, out_RO)
        return torch.from_numpy(out_RO)[:, : self._outputs]
