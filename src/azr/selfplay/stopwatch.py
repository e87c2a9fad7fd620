"""Where the time of a step goes, stage by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by stage. Stages of many coroutines overlap, so only their shares mean something."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time within the block towards a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def shares(self, wall: float) -> dict[str, float]:
        """Split `wall` seconds over the stages in proportion to what each took."""
        total = sum(self.seconds.values())
        return {stage: wall * seconds / total for stage, seconds in self.seconds.items()} if total else {}
