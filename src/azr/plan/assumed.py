"""Assumptions about runs that nobody has measured: lengths, valid proposals, transfers. docs/scaling.md lists them."""

from statistics import NormalDist

import numpy as np

PROMPT_TOKENS, MEDIAN_TOKENS, SIGMA = 1000, 600, 0.8
"""Tokens of a prompt; median tokens of an answer, and the standard deviation of its logarithm."""

VALID = 0.6
"""Share of proposals that become tasks."""

HIDDEN = 0.8
"""Share of a rank's computing time behind which its communication can hide."""

ALL_REDUCE = 20e-6
"""Seconds that a sum over the GPUs of a copy takes, beside sending; there are two per layer and decoded token."""

DISK_BANDWIDTH, RELOAD = 5e9, 5.0
"""Bytes per second of the disk that weights go through, and seconds in which a server loads them beside reading."""


def lengths(median: float, sigma: float, longest: int, count: int = 2000) -> tuple[int, ...]:
    """Quantiles of a lognormal distribution of lengths, cut at the longest allowed."""
    normal = NormalDist()
    quantiles = [normal.inv_cdf((at + 0.5) / count) for at in range(count)]
    return tuple(np.clip(median * np.exp(sigma * np.array(quantiles)), 1, longest).astype(int).tolist())


def exposed_seconds(sent: float, bandwidth: float, computing: float, *, hidden: float = HIDDEN) -> float:
    """Time of a transfer that does not hide behind computing.

    Args:
        sent: bytes per rank.
        bandwidth: bytes per second and rank.
        computing: seconds.
        hidden: share of them behind which it can hide.
    """
    return max(0.0, sent / bandwidth - hidden * computing)


def disk_seconds(size: float, nodes: int, *, bandwidth: float = DISK_BANDWIDTH, reload: float = RELOAD) -> float:
    """New weights through a folder: one write, a read per node at the disk's bandwidth, and loading."""
    return (1 + nodes) * size / bandwidth + reload
