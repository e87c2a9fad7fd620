"""95 % intervals for accuracies and their differences."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import atan, comb, cos, isnan, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

Interval = tuple[float, float]


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval for a share (Wilson 1927); (0, 1) where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples is right: 1 - C(n - c, k) / C(n, k).

    `samples` is n, and `correct` of them, c, are right. Source: Chen et al. 2021 (arXiv 2107.03374), equation 1.

    Raises:
        ValueError: not 0 <= c <= n, or not 1 <= k <= n.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {correct} right in {samples} samples is not defined")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def mean_of_kinds(correct: Mapping[str, Sequence[float]]) -> float:
    """Unweighted mean of the kinds' accuracies; kinds without tasks are left out."""
    accuracies = [sum(marks) / len(marks) for marks in correct.values() if marks]
    return sum(accuracies) / len(accuracies) if accuracies else 0.0


def bootstrap_mean(correct: Mapping[str, Sequence[float]], *, draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap of `mean_of_kinds`, with tasks resampled within each kind."""
    rng = np.random.default_rng(seed)
    means = []
    for marks in filter(len, correct.values()):
        array = np.asarray(marks, dtype=np.float64)
        means.append(array[rng.integers(len(array), size=(draws, len(array)))].mean(axis=1))
    if not means:
        return 0.0, 0.0
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_gain(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the gain in `mean_of_kinds`, paired by task.

    Raises:
        ValueError: the two were not measured on the same tasks.
    """
    differences = {
        kind: [new - old for old, new in zip(marks, after[kind], strict=True)] for kind, marks in before.items()
    }
    return bootstrap_mean(differences, draws=draws, seed=seed)


@cache
def student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t, by bisection of its distribution function.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        freedom: degrees of freedom, at least 1.
    """

    def within(t: float) -> float:
        """Probability that a value is at most t from 0."""
        angle, first = atan(t / sqrt(freedom)), freedom % 2
        term, total = cos(angle) if first else 1.0, 0.0
        for power in range(first, freedom - 1, 2):
            total += term
            term *= cos(angle) ** 2 * (power + 1) / (power + 2)
        return 2 / pi * (angle + sin(angle) * total) if first else sin(angle) * total

    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return (low + high) / 2


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of at least one value; between two values by linear interpolation."""
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return float(low), float(median), float(high)


def half_width(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the width of the 95 % interval of the mean by Student's t, over the first axis; nan for a single value."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 1:
        return np.full(array.shape[1:], np.nan)
    half: NDArray[np.float64] = student(len(array) - 1) * array.std(axis=0, ddof=1) / sqrt(len(array))
    return half


def over_runs(values: Sequence[float]) -> tuple[float, Interval | None]:
    """Mean over runs and its 95 % interval by Student's t; a single run has none."""
    centre, half = float(np.mean(values)), float(half_width(values))
    return centre, None if isnan(half) else (centre - half, centre + half)


def with_interval(values: Sequence[float] | NDArray[np.float64], digits: int = 1) -> str:
    """`over_runs` in words, such as "+2.0 (+1.2 to +2.8)"."""
    centre, interval = over_runs(list(values))
    if interval is None:
        return f"{centre:+.{digits}f} (one run)"
    return f"{centre:+.{digits}f} ({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f})"
