"""Running sums over an update's tokens, from which its metrics are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class Tally:
    """Sums and extremes over tokens."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    ratio_min: float = math.inf
    ratio_max: float = -math.inf

    def add(self, name: str, values_N: Tensor) -> None:
        """Add one value per token."""
        total = float(values_N.detach().cpu().double().sum())  # on the host, since Apple's MPS has no float64
        self.sums[name] = self.sums.get(name, 0.0) + total
        self.counts[name] = self.counts.get(name, 0) + len(values_N)

    def ratios(self, ratios_N: Tensor) -> None:
        """Add probability ratios, one per token."""
        self.ratio_min = min(self.ratio_min, float(ratios_N.min()))
        self.ratio_max = max(self.ratio_max, float(ratios_N.max()))

    def take(self, other: Tally) -> None:
        """Add another tally."""
        for name, total in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + total
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        self.ratio_min = min(self.ratio_min, other.ratio_min)
        self.ratio_max = max(self.ratio_max, other.ratio_max)

    def means(self) -> dict[str, float]:
        """Means over tokens, by name."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}
