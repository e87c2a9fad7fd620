"""Parts of azr's kernels for a CPU, compiled by numba: tiles of matrix products, softmax, and threads.

Plain loops over matrices come out of numba with single numbers in place of vectors, because LLVM unrolls short inner
loops before it looks for vectors. So the inner loop of a product is given to LLVM as it is to be (`products`).
Why numba at all: docs/decisions/0021-attention-by-numba.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 16
"""Numbers in a 512-bit vector. Where a processor has shorter ones, LLVM uses several."""

HIDDEN = np.float32(-1e30)
"""The score of what must not be attended to. Its weight is 0."""

_RELAXED = {"nsz", "arcp", "contract", "afn", "reassoc"}
"""Sums may be reordered, which vector instructions need. NaN and infinity keep their meaning."""


def compiled(function: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Compile, or load what an earlier process compiled.

    numba keeps compiled code beside the function's file, or in the user's cache directory, or in NUMBA_CACHE_DIR. If
    none of them can be written, every process compiles for itself. numba compiles anew when that file has changed, but
    not when a kernel of another file that the function calls has. So the name that it keeps code under says what all
    of these files contain.
    """
    options: dict[str, Any] = {"fastmath": _RELAXED, "error_model": "numpy", "nogil": True}
    function.__qualname__ += f"_{_digest(function)}"
    try:
        kernel: Callable[..., Any] = njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):  # no directory, or a full disk
        kernel = njit(signature, **options)(function)
    return kernel


def _digest(function: Callable[..., Any]) -> str:
    """Of the files whose kernels a function may call, its own and this one among them."""
    files: set[str] = set()
    left = [function]
    while left:
        one = left.pop()
        if (file := one.__code__.co_filename) not in files:
            files.add(file)
            left += [found.py_func for found in one.__globals__.values() if hasattr(found, "py_func")]
    return sha256(b"".join(Path(file).read_bytes() for file in sorted({*files, __file__}))).hexdigest()[:12]


def _exponential(x: np.float32) -> np.float32:
    """e^x, at least 2^-126, the smallest normal number.

    numba calls the C library for each `exp`. The polynomial, from Cephes' expf, becomes vector instructions in a loop;
    its relative error is below 2e-7.
    """
    x = np.float32(-87) if x < np.float32(-87) else x
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    x = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * x + np.float32(1.3981999507e-3)
    y = y * x + np.float32(8.3334519073e-3)
    y = y * x + np.float32(4.1665795894e-2)
    y = y * x + np.float32(1.6666665459e-1)
    y = y * x + np.float32(5.0000001201e-1)
    y = y * x * x + x + np.float32(1)
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^n


exponential = compiled(_exponential, "float32(float32)")
"""e^x for x below 88."""


def _normalise(scores_C: NDArray[np.float32]) -> None:
    top = HIDDEN
    for c in range(len(scores_C)):
        top = scores_C[c] if scores_C[c] > top else top
    total = np.float32(0)
    for c in range(len(scores_C)):
        y = exponential(scores_C[c] - top)
        scores_C[c] = y
        total += y
    for c in range(len(scores_C)):
        scores_C[c] /= total


softmax = compiled(_normalise, "void(float32[::1])")
"""Softmax of a line of scores, in place."""


def products(height: int) -> Any:
    """A function for compiled code that adds a product of matrices to a tile of `height` rows and `LANES` columns.

    It takes arrays, each with the offset of its first number and the steps from one number to the next:

        add(out, out_at, out_step, left, left_at, left_step, left_next, right, right_at, right_next, count)

    which in Python, on arrays as one line of numbers each, is

        for h in range(height):
            for i in range(count):
                weight, at = left[left_at + h * left_step + i * left_next], right_at + i * right_next
                out[out_at + h * out_step :][:LANES] += weight * right[at : at + LANES]

    The sums stay in registers.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        out_step, left_step, left_next, right_next, count = (arguments[i] for i in (2, 5, 6, 9, 10))
        vector, relaxed = ir.VectorType(ir.FloatType(), LANES), ("contract", "reassoc")
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def address(number: int) -> Any:
            """Of an array's number at the offset that is the next argument."""
            array = context.make_array(signature.args[number])(context, builder, arguments[number])
            return builder.gep(array.data, [arguments[number + 1]])

        def later(start: Any, step: Any, times: Any) -> Any:
            return builder.gep(start, [builder.mul(step, times)])

        def wide(start: Any) -> Any:
            return builder.bitcast(start, vector.as_pointer())

        out, left, right = address(0), address(3), address(7)
        rows = [wide(later(out, out_step, out_step.type(h))) for h in range(height)]
        weights = [later(left, left_step, left_step.type(h)) for h in range(height)]
        sums = [cgutils.alloca_once_value(builder, builder.load(row, align=4)) for row in rows]
        with cgutils.for_range(builder, count, intp=count.type) as loop:
            those = builder.load(wide(later(right, right_next, loop.index)), align=4)
            for weight, total in zip(weights, sums, strict=True):
                one = builder.load(later(weight, left_next, loop.index))
                lane = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.IntType(32)(0))
                product = builder.fmul(builder.shuffle_vector(lane, lane, zeros), those, flags=relaxed)
                builder.store(builder.fadd(builder.load(total), product, flags=relaxed), total)
        for total, row in zip(sums, rows, strict=True):
            builder.store(builder.load(total), row, align=4)
        return context.get_dummy_value()

    def add(
        _: Any, out: Any, out_at: Any, out_step: Any, left: Any, left_at: Any, left_step: Any, left_next: Any,
        right: Any, right_at: Any, right_next: Any, count: Any,
    ) -> Any:  # fmt: skip
        kinds = (out, out_at, out_step, left, left_at, left_step, left_next, right, right_at, right_next, count)
        return types.void(*kinds), build

    return intrinsic(add)


def in_threads(count: int, compute: Callable[[int, int], None]) -> None:
    """Compute `count` items in as many threads as torch has: `compute(first, last)` for each thread's share.

    A kernel runs without Python's lock.
    """
    parts = min(torch.get_num_threads(), count)
    if parts == 1:
        compute(0, count)
    else:
        edges = [count * part // parts for part in range(parts + 1)]
        list(_threads(parts).map(compute, edges[:-1], edges[1:]))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix="azr-kernel")
