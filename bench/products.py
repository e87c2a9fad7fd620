"""How fast are linear layers by oneDNN, and by azr's kernel for few rows, against PyTorch's own (MKL on x86)?

    python bench/products.py [--rounds 5]

Each round takes both sides in turn, with one thread, in the shapes of the nursery's layers. By oneDNN: the output of a
layer, the gradient of its input, and that of its weight. By the kernel: the output, as in a decoding step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from azr.models import products
from azr.models.dense import Dense

SHAPES = ((128, 128), (128, 384), (384, 128), (128, 411))
"""Inputs and outputs."""
ROWS = (16, 64, 256, 1024, 4096)
FEW_ROWS = (8, 16, 40, 64, 128, 256)
REPETITIONS = 20


def passes(rows: int, inputs: int, outputs: int) -> Callable[[], object]:
    """A function that computes a layer's output and both gradients."""
    x_RI = torch.randn(rows, inputs, requires_grad=True)
    weight_OI = torch.randn(outputs, inputs, requires_grad=True)
    gradient_RO = torch.randn(rows, outputs)
    return lambda: torch.autograd.grad(products.product(x_RI, weight_OI), (x_RI, weight_OI), gradient_RO)


def rate_of_few(rows: int, layer: Callable[[Tensor, Tensor], Callable[[], object]]) -> float:
    """GFLOP per second over all shapes, without gradients."""
    seconds, flops = 0.0, 0
    for inputs, outputs in SHAPES:
        compute = layer(torch.randn(rows, inputs), torch.randn(outputs, inputs))
        compute()
        began = time.perf_counter()
        for _ in range(5 * REPETITIONS):
            compute()
        seconds += time.perf_counter() - began
        flops += 2 * rows * inputs * outputs * 5 * REPETITIONS
    return flops / seconds / 1e9


def by_kernel(x_RI: Tensor, weight_OI: Tensor) -> Callable[[], object]:
    """The layer by azr's kernel."""
    dense = Dense([weight_OI], [None])
    return lambda: dense(x_RI)


def by_pytorch(x_RI: Tensor, weight_OI: Tensor) -> Callable[[], object]:
    """The layer by PyTorch."""
    return lambda: functional.linear(x_RI, weight_OI)


def rate(rows: int, *, least: float) -> float:
    """GFLOP per second over all shapes; products of fewer multiplications are left to PyTorch."""
    products.LEAST = least  # type: ignore[assignment]
    seconds, flops = 0.0, 0
    for inputs, outputs in SHAPES:
        compute = passes(rows, inputs, outputs)
        compute()
        began = time.perf_counter()
        for _ in range(REPETITIONS):
            compute()
        seconds += time.perf_counter() - began
        flops += 6 * rows * inputs * outputs * REPETITIONS
    return flops / seconds / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"oneDNN is {'used' if products.AVAILABLE else 'not used'} on this processor")
    for rows in ROWS:
        show(
            f"oneDNN / MKL, {rows} rows", [(rate(rows, least=0), rate(rows, least=float("inf"))) for _ in range(rounds)]
        )
    for rows in FEW_ROWS:
        pairs = [(rate_of_few(rows, by_kernel), rate_of_few(rows, by_pytorch)) for _ in range(rounds)]
        show(f"kernel / MKL, {rows} rows", pairs)


def show(name: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Print the ratios of two sides, and their median rates."""
    ratios = [ours / theirs for ours, theirs in pairs]
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name}: min {min(ratios):.2f} median {median(ratios):.2f} runs {len(pairs)}"
        f"   {ours:.0f} and {theirs:.0f} GFLOP/s"
    )


if __name__ == "__main__":
    main()
