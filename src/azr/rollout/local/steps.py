"""Decoding steps of a small model in one compiled call, from each row's newest token to its next ones.

The products of a decoding step of the demo's model take 0.1 ms for a few rows. Started one by one from Python, they and
all that lies between them take ten times as long, and hold Python's lock meanwhile. Here a turn of many steps is one
call without the lock, so that tasks are judged beside it. Equal to the other paths up to rounding
(tests/rollout/test_steps.py); times are in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from azr.models.dense import TILE, Dense, multiply
from azr.models.vectors import compiled, exponential
from azr.rollout.local.draw import draw_one
from azr.rollout.local.kernel import attend, scale_rows

Arrays: TypeAlias = tuple[Any, ...]
"""NumPy arrays and numbers, in the order that a kernel takes them."""

_DENSE = "float32[:,:,:,::1], float32[:,::1]"
_LAYERS = f"Tuple((float32[:,::1], float32[:,::1], float64, {_DENSE}, {_DENSE}, {_DENSE}, {_DENSE}))"
_AROUND = "Tuple((float32[:,::1], float32[::1], float32[:,:,::1], float32[::1]))"
_PAGES = (
    "Tuple((float32[:,::1], float32[:,::1], float32[:,:,:,:,::1], float32[:,:,:,:,::1],"
    " int64[:,::1], int64[::1], int64[::1], float32))"
)
_SLOTS = "Tuple((int64[:,::1], float32[:,::1], int64[::1], int64[::1], boolean[::1], float32[::1], float64[:,::1]))"


def _layer(
    x_RE: NDArray[np.float32], rows_R: NDArray[np.int64], rows: int, layer: int, layers: Arrays, pages: Arrays
) -> None:
    first_LE, second_LE, epsilon, qkv, qkv_bias, answer, answer_bias, gate_up, gate_up_bias, down, down_bias = layers
    cos_PD, sin_PD, keys, values, tables_SN, prompt_S, own_S, scale = pages
    count, width, between = len(x_RE), keys.shape[3], down.shape[2]
    outputs, inputs = qkv_bias.shape[1], answer.shape[2]
    normed_RE, change_RE = np.empty_like(x_RE), np.empty_like(x_RE)
    joined_RHD = np.empty((count, outputs // width, width), np.float32)
    said_RHD = np.zeros((count, inputs // width, width), np.float32)  # rows that only fill a tile stay 0
    both_RG, hidden_RF = np.empty((count, 2 * between), np.float32), np.empty((count, between), np.float32)
    scale_rows(x_RE, first_LE[layer], epsilon, normed_RE)
    multiply(normed_RE, qkv[layer], qkv_bias[layer], joined_RHD.reshape(count, outputs))
    attend(
        joined_RHD, rows_R, layer, cos_PD, sin_PD, keys, values, tables_SN, prompt_S, own_S, scale, 0, rows, said_RHD
    )
    multiply(said_RHD.reshape(count, inputs), answer[layer], answer_bias[layer], change_RE)
    for r in range(count):
        for e in range(x_RE.shape[1]):
            x_RE[r, e] += change_RE[r, e]
    scale_rows(x_RE, second_LE[layer], epsilon, normed_RE)
    multiply(normed_RE, gate_up[layer], gate_up_bias[layer], both_RG)
    for r in range(count):
        for f in range(between):  # silu(gate) * up
            gate = max(both_RG[r, f], np.float32(-87))
            hidden_RF[r, f] = gate / (np.float32(1) + exponential(-gate)) * both_RG[r, between + f]
    multiply(hidden_RF, down[layer], down_bias[layer], change_RE)
    for r in range(count):
        for e in range(x_RE.shape[1]):
            x_RE[r, e] += change_RE[r, e]


_compute_layer = compiled(_layer, f"void(float32[:,::1], int64[::1], int64, int64, {_LAYERS}, {_PAGES})")


def _decode(
    steps: int,
    first: int,
    last: int,
    around: Arrays,
    layers: Arrays,
    pages: Arrays,
    slots: Arrays,
    eos: NDArray[np.int64],
) -> None:
    embedding_VE, last_E, head, head_bias = around
    first_LE, epsilon, own_S = layers[0], layers[2], pages[6]
    ids_ST, logprobs_ST, drawn_S, limit_S, ended_S, temperature_S, uniforms_SC = slots
    size, width, chunk = embedding_VE.shape[0], embedding_VE.shape[1], uniforms_SC.shape[1]
    mass_V, sums = np.empty(size, np.float32), np.empty(size, np.float64)
    rows_R, rows = np.arange(first, last), last - first
    for _ in range(steps):
        if rows == 0:
            break
        x_RE = np.zeros((max(rows, TILE), width), np.float32)
        normed_RE, logits_RV = np.empty_like(x_RE), np.empty((len(x_RE), len(head_bias)), np.float32)
        for r in range(rows):
            slot = rows_R[r]
            token = ids_ST[slot, drawn_S[slot] - 1]
            for e in range(width):
                x_RE[r, e] = embedding_VE[token, e]
        for layer in range(len(first_LE)):
            _compute_layer(x_RE, rows_R, rows, layer, layers, pages)
        scale_rows(x_RE, last_E, epsilon, normed_RE)
        multiply(normed_RE, head, head_bias, logits_RV)
        going = 0
        for r in range(rows):
            slot = rows_R[r]
            at = drawn_S[slot]
            token, logprob = draw_one(logits_RV, r, temperature_S[slot], uniforms_SC[slot, at % chunk], mass_V, sums)
            ids_ST[slot, at], logprobs_ST[slot, at] = token, logprob
            drawn_S[slot], own_S[slot] = at + 1, own_S[slot] + 1
            for end in eos:
                ended_S[slot] |= token == end
            if not ended_S[slot] and at + 1 < limit_S[slot]:
                rows_R[going] = slot
                going += 1
        rows = going


decode = compiled(_decode, f"void(int64, int64, int64, {_AROUND}, {_LAYERS}, {_PAGES}, {_SLOTS}, int64[::1])")
"""Draw up to `steps` tokens for each row from slot `first` to `last` - 1, fewer for rows that end.

Args:
    steps: as many as the pages, the uniform numbers and the arrays of tokens have room for.
    first: the first slot.
    last: the slot after the last.
    around: see `Weights`.
    layers: see `Weights`.
    pages: arguments of `kernel.attend` from `cos_PD` to `scale`.
    slots: of `decode._Slots`: ids, log-probabilities, numbers of tokens drawn, limits, whether rows have ended,
        temperatures, uniform numbers.
    eos: tokens that end a row.
"""


@dataclass(frozen=True, slots=True)
class Weights:
    """A small model's weights as `decode` takes them.

    Attributes:
        around: token embeddings [V, E], weight of the last norm [E], and the output layer as a `Dense`: its blocks and
            biases.
        layers: weights of the layers' norms [L, E] each, the epsilon of all norms, and four products per layer, each as
            the blocks and biases of all layers' `Dense` [L, ...]: queries, keys and values; attention output; gate and
            up projection; down projection.
    """

    around: Arrays
    layers: Arrays

    @classmethod
    def of(cls, model: Any, dense: Sequence[Sequence[Dense]]) -> Weights:
        """The weights of a plain model in float32 on a CPU.

        Args:
            model: its embeddings and last norm are shared, so they follow updates in place; its output layer and the
                other norms are copied.
            dense: four products for each layer. Their arrays move into those of all layers.
        """
        layers, last = model.model.layers, model.model.norm
        head = Dense([model.lm_head.weight], [model.lm_head.bias])
        norms = [[layer.input_layernorm, layer.post_attention_layernorm] for layer in layers]
        norms_LE = (np.stack([norm.weight.detach().numpy() for norm in each]) for each in zip(*norms, strict=True))
        products = (array for product in zip(*dense, strict=True) for array in _stacked(product))
        embedding_VE, last_E = (module.weight.detach().numpy() for module in (model.model.embed_tokens, last))
        around = embedding_VE, last_E, head.blocks, head.bias_O
        return cls(around, (*norms_LE, float(last.variance_epsilon), *products))


def _stacked(products: Sequence[Dense]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One product's blocks and biases of all layers, which the layers then share."""
    blocks, biases = np.stack([one.blocks for one in products]), np.stack([one.bias_O for one in products])
    for one, own, bias_O in zip(products, blocks, biases, strict=True):
        one.blocks, one.bias_O = own, bias_O
    return blocks, biases
