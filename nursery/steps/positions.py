"""Positions that training gives to the tokens of a short document, so that those of a long one are not new.

A model reads and writes with plain positions 0, 1, 2, ...; only training uses these.
"""

from __future__ import annotations

from typing import Literal

import torch

Positions = Literal["plain", "random", "gaps"]


_SHARE_OF_LINES = 0.5
"""In a document with gaps, the share of the lines that have one before them."""


def training_positions(
    how: Positions,
    ids_BT: torch.Tensor,
    line_ends: torch.Tensor,
    longest: int,
    generator: torch.Generator,
    *,
    gapped: float = 1.0,
) -> torch.Tensor:
    """Positions of the tokens of each row, shape (B, T), strictly increasing.

    Args:
        how: `plain` counts from 0. `random` takes a random subset of 0 to a random limit (2305.16843). `gaps` leaves
            random gaps before lines. Tokens of a line keep their distances, and so do a statement and its number.
        ids_BT: tokens.
        line_ends: tokens that end a line.
        longest: no position reaches this.
        generator: source of randomness.
        gapped: with `gaps`, the share of the rows that have any; the others count from 0.
    """
    rows, width = ids_BT.shape
    plain = torch.arange(width).expand(rows, width)
    if how == "plain":
        return plain
    if how == "random":
        limits = torch.randint(width, longest + 1, (rows, 1), generator=generator)
        keys = torch.rand((rows, longest), generator=generator).masked_fill(torch.arange(longest) >= limits, -1.0)
        return keys.topk(width, dim=1).indices.sort(dim=1).values
    breaks = torch.isin(ids_BT, line_ends).roll(1, dims=1)  # the first token of a line
    breaks[:, 0] = False
    breaks &= torch.rand((rows, width), generator=generator) < _SHARE_OF_LINES
    shares = torch.rand((rows, width), generator=generator) * breaks
    room = (longest - width) * torch.rand((rows, 1), generator=generator)
    room *= torch.rand((rows, 1), generator=generator) < gapped
    grown = (shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-6)).cumsum(dim=1).clamp(max=1.0)
    return plain + (grown * room).long()
