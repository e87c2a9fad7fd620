"""95 % intervals for accuracies and their differences."""

from collections.abc import Mapping, Sequence
from math import comb, sqrt

import numpy as np

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
