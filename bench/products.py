"""How fast are the products of linear layers by oneDNN, against PyTorch's own (MKL on x86), on this machine's CPU?

    python bench/products.py [--rounds 5]

Each round takes both libraries in turn, with one thread: the output of a layer, the gradient of its input, and that of
its weight, in the shapes of the nursery's layers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from azr.models import products

SHAPES = ((128, 128), (128, 384), (384, 128), (128, 411))
"""Inputs and outputs."""
ROWS = (16, 64, 256, 1024, 4096)
REPETITIONS = 20


def passes(rows: int, inputs: int, outputs: int) -> Callable[[], object]:
    """A function that computes a layer's output and both gradients."""
    x_RI = torch.randn(rows, inputs, requires_grad=True)
    weight_OI = torch.randn(outputs, inputs, requires_grad=True)
    gradient_RO = torch.randn(rows, outputs)
    return lambda: torch.autograd.grad(products.product(x_RI, weight_OI), (x_RI, weight_OI), gradient_RO)


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
        pairs = [(rate(rows, least=0), rate(rows, least=float("inf"))) for _ in range(rounds)]
        ratios = [ours / theirs for ours, theirs in pairs]
        ours, theirs = (median(column) for column in zip(*pairs, strict=True))
        print(
            f"oneDNN / MKL, {rows} rows: min {min(ratios):.2f} median {median(ratios):.2f} runs {rounds}"
            f"   {ours:.0f} and {theirs:.0f} GFLOP/s"
        )


if __name__ == "__main__":
    main()
