"""Plain decoders: the model families whose forward pass azr also computes with code of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FAMILIES = {f"transformers.models.{name}.modeling_{name}" for name in ("llama", "qwen2", "qwen3")}
"""Modules of the model classes; importing the classes themselves would take a second."""

_FIXED_ROPE = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings that depend on the position alone, and not on the length of the sequence."""


def is_plain(model: Any) -> bool:
    """Whether a model is Llama, Qwen2 or Qwen3 with plain linear layers and full attention."""
    if type(model).__module__ not in _FAMILIES or not type(model).__name__.endswith("ForCausalLM"):
        return False
    config = model.config
    layers = model.model.layers
    return (
        set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
        and model.model.rotary_emb.rope_type in _FIXED_ROPE
        and all(type(module) is nn.Linear for layer in layers for module in projections(layer))
    )


def projections(layer: Any) -> tuple[nn.Linear, ...]:
    """A layer's linear layers: queries, keys, values, attention output, gate, up, down."""
    attention, mlp = layer.self_attn, layer.mlp
    return (
        attention.q_proj,
        attention.k_proj,
        attention.v_proj,
        attention.o_proj,
        mlp.gate_proj,
        mlp.up_proj,
        mlp.down_proj,
    )


def normed(norm: Any, x: Tensor) -> Tensor:
    """The layer's RMS norm in torch's own operation."""
    return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


@torch.no_grad()
def rotary_tables(model: Any, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions 0 to `positions` - 1, [P, D] each.

    The sines' first half carries the minus of transformers' `rotate_half`: a head `x` becomes `x * cos`, plus `sin`
    times the two halves of `x` in exchanged places.
    """
    weight = model.model.norm.weight
    positions_1P = torch.arange(positions, device=weight.device)[None]
    cos_1PD, sin_1PD = model.model.rotary_emb(weight, positions_1P)
    half = sin_1PD.shape[-1] // 2
    return cos_1PD[0], torch.cat((-sin_1PD[0, :, :half], sin_1PD[0, :, half:]), dim=-1)
