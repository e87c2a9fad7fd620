"""The learner's forward pass of a plain decoder on a CPU, without padding and without a token computed twice.

It computes the same function as transformers' forward with the same weights, on the layout of `azr.learn.prefixes`, by
an attention of its own (`azr.learn.attention`). In the last layer, tokens that predict nothing only give keys and
values. Log-probabilities and gradients equal those of transformers up to rounding (tests/learn/test_lean.py); timings
are in bench/learn.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from azr.learn.prefixes import Paths
from azr.models.plain import is_plain, normed, rotary_tables
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
        from azr.learn.attention import attend  # imports numba

        self._model, self._kernel = model, attend
        attention = model.model.layers[0].self_attn
        self._width, self._scale = attention.head_dim, attention.scaling
        self._tables = rotary_tables(model, _POSITIONS)

    def states(self, paths: Paths) -> Tensor:
        """The last hidden states of the tokens that predict something, [U, E]."""
        if paths.tree.longest > len(self._tables[0]):
            self._tables = rotary_tables(self._model, 2 * paths.tree.longest)
        body = self._model.model
        x_FE = body.embed_tokens(paths.ids_F)
        for layer in body.layers:
            attention = layer.self_attn
            heads_FE = self._attend(attention, normed(layer.input_layernorm, x_FE), paths)
            if layer is body.layers[-1]:
                heads_FE, x_FE = take(heads_FE, paths.predicting_U), take(x_FE, paths.predicting_U)
            x_FE = x_FE + linear(attention.o_proj, heads_FE)
            inner_FE, mlp = normed(layer.post_attention_layernorm, x_FE), layer.mlp
            inner_FH = mlp.act_fn(linear(mlp.gate_proj, inner_FE)) * linear(mlp.up_proj, inner_FE)
            x_FE = x_FE + linear(mlp.down_proj, inner_FH)
        return normed(body.norm, x_FE)

    def _attend(self, attention: Any, x_FE: Tensor, paths: Paths) -> Tensor:
        """The joined heads of every token, [F, H * D]."""
        q_FHD, k_FKD, v_FKD = (
            linear(layer, x_FE).view(len(x_FE), -1, self._width)
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            q_FHD, k_FKD = normed(attention.q_norm, q_FHD), normed(attention.k_norm, k_FKD)
        return self._kernel(q_FHD, k_FKD, v_FKD, paths.tree, self._tables, scale=self._scale).flatten(1)


def take(x_FE: Tensor, rows_M: Tensor) -> Tensor:
    """Rows by their index. As an embedding: its gradient, a sum over equal rows, is the fastest of all on a CPU."""
    return functional.embedding(rows_M, x_FE)
