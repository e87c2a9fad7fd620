"""Products of a linear layer in float32 on a CPU, by the library that is fastest.

PyTorch computes them with MKL, which does not use 512-bit vectors on processors of AMD. On a core of the Zen 5
generation, oneDNN is twice as fast (bench/products.py). PyTorch contains oneDNN, too, behind an operator of its
compiler's.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

AVAILABLE = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
"""MKL uses 256-bit vectors, so oneDNN gains nothing where there are no longer ones."""

LEAST = 2**24
"""Multiplications below which MKL is used. oneDNN compiles code for every shape that it meets, in 0.3 ms."""

_CODE_KEPT = "8"
"""Shapes whose code oneDNN keeps: those of a layer. It would keep 1,024, in 120 MiB or more (docs/experiments.md)."""

if AVAILABLE:
    for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(_name, _CODE_KEPT)  # read at the first product


def product(x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """The output of a linear layer, [R, O], with gradient. Equal to `torch.nn.functional.linear` up to rounding."""
    if not _by_onednn(x_RI, weight_OI):
        return functional.linear(x_RI, weight_OI, bias_O)
    if torch.is_grad_enabled() and (x_RI.requires_grad or weight_OI.requires_grad):
        result: Tensor = _Product.apply(x_RI, weight_OI, bias_O)  # type: ignore[no-untyped-call]
        return result
    return _onednn(x_RI, weight_OI, bias_O)


def linear(layer: Any, x_RI: Tensor) -> Tensor:
    """The output of a linear layer, [R, O]."""
    return product(x_RI, layer.weight, layer.bias)


class _Product(torch.autograd.Function):
    """The product and its gradient. PyTorch has none for its operator."""

    @staticmethod
    def forward(ctx: Any, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_RI, weight_OI)
        ctx.biased = bias_O is not None
        return _onednn(x_RI, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_RO,) = gradients
        x_RI, weight_OI = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        of_x = _onednn(gradient_RO, weight_OI.t(), None) if wants_x else None
        of_weight = _transposed_product(gradient_RO, x_RI) if wants_weight else None
        of_bias = gradient_RO.sum(dim=0) if wants_bias and ctx.biased else None
        return of_x, of_weight, of_bias


def _transposed_product(left_RO: Tensor, right_RI: Tensor) -> Tensor:
    """The product of the first, transposed, and the second, [O, I]. oneDNN copies the second argument: the smaller."""
    if left_RO.shape[1] > right_RI.shape[1]:
        return _onednn(right_RI.t(), left_RO.t(), None).t()
    return _onednn(left_RO.t(), right_RI.t(), None)


def _onednn(x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, weight_OI, bias_O, "none", [], "")
    return result


def _by_onednn(x_RI: Tensor, weight_OI: Tensor) -> bool:
    return (
        AVAILABLE
        and x_RI.dtype == weight_OI.dtype == torch.float32
        and x_RI.device.type == weight_OI.device.type == "cpu"
        and len(x_RI) * weight_OI.numel() >= LEAST
    )
