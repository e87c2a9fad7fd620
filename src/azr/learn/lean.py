"""The learner's forward pass of a plain decoder on a CPU, without padding and without a token computed twice.

It computes the same function as transformers' forward with the same weights, on the layout of `azr.learn.prefixes`. In
the last layer, tokens that predict nothing only give keys and values. Log-probabilities and gradients equal those of
transformers up to rounding (tests/learn/test_lean.py); timings are in bench/learn.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from azr.learn.prefixes import Paths
from azr.models.plain import is_plain, normed
from azr.models.products import linear

_POSITIONS = 1024


def supports(model: Any) -> bool:
    """Whether `LeanBody` computes this model: a plain decoder in float32 on a CPU, without gradient checkpointing."""
    return (
        is_plain(model)
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and not model.is_gradient_checkpointing
    )


class LeanBody:
    """A plain decoder without its output layer.

    Args:
        model: that `supports` accepts.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        attention = model.model.layers[0].self_attn
        self._width, self._scale = attention.head_dim, attention.scaling
        self._groups = model.config.num_attention_heads // model.config.num_key_value_heads
        self._turns_PC = torch.empty(0)

    def states(self, paths: Paths) -> Tensor:
        """The last hidden states of the tokens that predict something, [U, E]."""
        body = self._model.model
        x_FE = body.embed_tokens(paths.ids_F)
        turns_F1C = self._turns(paths.positions_F)[:, None]
        for layer in body.layers:
            attention = layer.self_attn
            heads_FE = self._attend(attention, normed(layer.input_layernorm, x_FE), turns_F1C, paths)
            if layer is body.layers[-1]:
                heads_FE, x_FE = take(heads_FE, paths.predicting_U), take(x_FE, paths.predicting_U)
            x_FE = x_FE + linear(attention.o_proj, heads_FE)
            inner_FE, mlp = normed(layer.post_attention_layernorm, x_FE), layer.mlp
            inner_FH = mlp.act_fn(linear(mlp.gate_proj, inner_FE)) * linear(mlp.up_proj, inner_FE)
            x_FE = x_FE + linear(mlp.down_proj, inner_FH)
        return normed(body.norm, x_FE)

    def _attend(self, attention: Any, x_FE: Tensor, turns_F1C: Tensor, paths: Paths) -> Tensor:
        """The joined heads of every token, [F, H * D]."""
        q_FHD, k_FKD, v_FKD = (
            linear(layer, x_FE).view(len(x_FE), -1, self._width)
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            q_FHD, k_FKD = normed(attention.q_norm, q_FHD), normed(attention.k_norm, k_FKD)
        q_FHD, k_FKD = _turned(q_FHD, turns_F1C), _turned(k_FKD, turns_F1C)
        inputs = [take(x.flatten(1), paths.slots_M) for x in (q_FHD, k_FKD, v_FKD)]
        sizes = [rows * columns for rows, columns in paths.groups]
        found = []
        for (rows, columns), *parts in zip(paths.groups, *(torch.split(x, sizes) for x in inputs), strict=True):
            q_BHLD, k_BKLD, v_BKLD = (x.view(rows, columns, -1, self._width).transpose(1, 2) for x in parts)
            if self._groups > 1:
                k_BKLD, v_BKLD = (x.repeat_interleave(self._groups, dim=1) for x in (k_BKLD, v_BKLD))
            heads_BHLD = functional.scaled_dot_product_attention(
                q_BHLD, k_BKLD, v_BKLD, is_causal=True, scale=self._scale
            )
            found.append(heads_BHLD.transpose(1, 2).reshape(rows * columns, -1))
        return take(torch.cat(found), paths.slot_F)

    def _turns(self, positions_F: Tensor) -> Tensor:
        """Rotary embeddings of positions as complex numbers, [F, D / 2]."""
        if (last := int(positions_F.max())) >= len(self._turns_PC):
            weight = self._model.model.norm.weight
            positions_1P = torch.arange(max(2 * last, _POSITIONS))[None]
            with torch.no_grad():
                cos_1PD, sin_1PD = self._model.model.rotary_emb(weight, positions_1P)
            half = self._width // 2
            self._turns_PC = torch.complex(cos_1PD[0, :, :half], sin_1PD[0, :, :half])
        return self._turns_PC[positions_F]


def _turned(x_FHD: Tensor, turns_F1C: Tensor) -> Tensor:
    """Rotate queries or keys by their positions.

    A pair that rotates together is a complex number, and its two parts are neighbours in the result. transformers puts
    them half a head apart. That makes no difference to the products of queries and keys.
    """
    half = x_FHD.shape[-1] // 2
    return torch.view_as_real(torch.complex(x_FHD[..., :half], x_FHD[..., half:]) * turns_F1C).flatten(-2)


def take(x_FE: Tensor, rows_M: Tensor) -> Tensor:
    """Rows by their index. As an embedding: its gradient, a sum over equal rows, is the fastest of all on a CPU."""
    return functional.embedding(rows_M, x_FE)
