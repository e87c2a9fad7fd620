"""Weights to start from: heads that find a line by its number. Training shapes them like all others.

A trace finds the statement of a line by an equal number in the program, and by what stands before that number. This
takes two heads in a row: one that looks at the previous token, and one that looks at equal tokens. Either is useless
without the other, so a small model does not find them: from random weights, 600 updates leave it guessing among the
statements that it has not used yet (docs/experiments.md). It starts with both instead:

- In the first layer, head 0 looks at the previous token. Its queries and keys are constant, and rotary positions turn
  them so that they agree best at a distance of 1.
- In the second layer, keys are made as queries are, so that equal tokens attend to each other (mimetic initialization,
  arXiv 2305.09828). Positions disturb that little: most pairs of a head's dimensions turn very slowly, or the layer
  has no positions.
- Both layers pass on what they see: the output projection is the transpose of the value projection.
"""

from __future__ import annotations

from typing import Any

import torch

SHARPNESS = 8.0
"""The attention score of the previous token, per pair of dimensions; its neighbours score about 0.9x as much."""
MATCHING = 1.5
"""Spread of the queries and keys that find equal tokens, in units of 1 / sqrt(hidden)."""
PASSED = (0.05, 0.2)
"""Share of a token's value that the primed heads of the first and the second layer pass on."""

_LENGTH = 0.02
"""Of a token's own part per dimension, as transformers draws it, and of the part that all tokens share."""


def prime(model: Any, generator: torch.Generator) -> None:
    """Set the heads of a new model in place.

    Args:
        model: a `LlamaForCausalLM` or `SmolLM3ForCausalLM` with random weights and at least two layers.
        generator: source of randomness.
    """
    hidden, heads = model.config.hidden_size, model.config.num_attention_heads
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    with torch.no_grad():
        common = torch.randn(hidden, generator=generator).sign() / hidden**0.5
        _share(model.model.embed_tokens.weight, common)
        _look_back(first, common, hidden, heads)
        matching = MATCHING * torch.randn((hidden, hidden), generator=generator) / hidden**0.5
        matching -= (matching @ common)[:, None] * common  # all tokens share it, so that it would match all of them
        second.q_proj.weight.copy_(matching)
        second.k_proj.weight.copy_(matching)
        for attention, rows, share in ((first, hidden // heads, PASSED[0]), (second, hidden, PASSED[1])):
            values = torch.randn((rows, hidden), generator=generator) / hidden**0.5
            attention.v_proj.weight[:rows] = values
            attention.o_proj.weight[:, :rows] = share * values.T


def _share(embeddings_VE: torch.Tensor, common_E: torch.Tensor) -> None:
    """Give all tokens an equal part, from which constant queries and keys are read, and equal lengths.

    Both parts have the same length, so each is 0.7 of a normalised token.
    """
    own_VE = embeddings_VE - (embeddings_VE @ common_E)[:, None] * common_E
    own_VE /= own_VE.norm(dim=1, keepdim=True).clamp(min=1e-6)  # the padding token has none
    embeddings_VE.copy_(_LENGTH * len(common_E) ** 0.5 * (own_VE + common_E))


def _look_back(attention: Any, common: torch.Tensor, hidden: int, heads: int) -> None:
    """Make head 0 look at the previous token: its keys are its queries, turned by one position."""
    width, half = hidden // heads, hidden // heads // 2
    theta = attention.config.rope_parameters["rope_theta"]
    turns = theta ** (-2.0 * torch.arange(half) / width)
    size = (SHARPNESS * width**0.5) ** 0.5 / (0.7 * hidden**0.5)
    attention.q_proj.weight[:half] = size * common
    attention.q_proj.weight[half:width] = 0.0
    attention.k_proj.weight[:half] = size * turns.cos()[:, None] * common
    attention.k_proj.weight[half:width] = size * turns.sin()[:, None] * common
