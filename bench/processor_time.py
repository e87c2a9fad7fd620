"""Run azr with processor time in place of the wall clock, for `scaling_sim.py --check` on a machine with other work.

    python bench/processor_time.py train primes learner.processes=2 threads=1

The clock is the processor time of this process, which is rank 0. In an update it advances by that of the slowest rank,
as if each rank had a core of its own and transfers took no time. Waiting for the sandbox takes no time either.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from azr.cli import main
from azr.learn.learner import PolicyLearner

_own = time.process_time
_ahead = 0.0


def clock() -> float:
    """Seconds of processor time so far, with those in which this process would have waited for a slower rank."""
    return _own() + _ahead


def used(pid: int) -> float:
    """Seconds of processor time of all threads of a process."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def others() -> list[int]:
    """The other ranks, which this process has started."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    return [pid for pid in pids if b"azr.train.ranks" in Path(f"/proc/{pid}/cmdline").read_bytes()]


_plain = PolicyLearner._update


def _update(self: PolicyLearner, *arguments: Any, **options: Any) -> Any:
    """Take an update, and let the clock advance by the processor time of the slowest rank."""
    global _ahead
    ranks = others()
    before, here = [used(pid) for pid in ranks], _own()
    result = _plain(self, *arguments, **options)
    slowest = max((used(pid) - begin for pid, begin in zip(ranks, before, strict=True)), default=0.0)
    _ahead += max(0.0, slowest - (_own() - here))
    return result


if __name__ == "__main__":
    time.perf_counter = clock
    PolicyLearner._update = _update  # type: ignore[method-assign]
    sys.exit(main())
