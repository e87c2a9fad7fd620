"""Attention over a tree of tokens as an operation of torch, with its gradient. For float32 on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from azr.learn import kernel
from azr.learn.prefixes import Tree
from azr.models.vectors import in_threads


def attend(
    q_FHD: Tensor, k_FKD: Tensor, v_FKD: Tensor, tree: Tree, tables: tuple[Tensor, Tensor], *, scale: float
) -> Tensor:
    """Attention of each token to itself and to those before it on its branch, [F, H, D].

    Args:
        q_FHD: queries, not yet rotated.
        k_FKD: keys, not yet rotated. H is a multiple of K.
        v_FKD: values.
        tree: the tokens' branches. A token's position is the number of tokens before it.
        tables: `azr.models.plain.rotary_tables` for at least `tree.longest` positions.
        scale: factor of the scores.
    """
    said_FHD: Tensor = _Attention.apply(q_FHD, k_FKD, v_FKD, tree, tables, scale)  # type: ignore[no-untyped-call]
    return said_FHD


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_FHD: Tensor,
        k_FKD: Tensor,
        v_FKD: Tensor,
        tree: Tree,
        tables: tuple[Tensor, Tensor],
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(q_FHD, k_FKD, v_FKD)
        ctx.tree, ctx.tables, ctx.scale = tree, tables, scale
        said_FHD = torch.empty_like(q_FHD)
        _compute(ctx, kernel.attend, (q_FHD, k_FKD, v_FKD), (said_FHD,))
        return said_FHD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        results = tuple(map(torch.empty_like, inputs))
        _compute(ctx, kernel.attend_backward, inputs, (gradients[0].contiguous(), *results))
        return *results, None, None, None


def _compute(ctx: Any, function: Callable[..., None], inputs: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Run a kernel, in threads that share the heads of the keys."""
    tree: Tree = ctx.tree
    arrays = [tensor.detach().numpy() for tensor in (*inputs, *ctx.tables)]
    rest = [tensor.numpy() for tensor in others]
    numbers = np.float32(ctx.scale), tree.starts, tree.before_S, tree.longest
    in_threads(inputs[1].shape[1], lambda first, last: function(*arrays, *numbers, first, last, *rest))
