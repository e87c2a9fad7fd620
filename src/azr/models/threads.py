"""How many threads torch gets."""

import os

SMALL = 5_000_000
"""Models with fewer parameters than this compute on one thread.

The demo's model, of 0.9 million, is as fast on one thread as on two on an idle machine, and 30 times slower on two when
something else runs (docs/performance.md).
"""


def threads(parameters: int) -> int:
    """How many threads torch should use on a CPU for a model with this many parameters.

    OMP_NUM_THREADS if it is a positive number, else 1 for a small model, else the number of cores that this process may
    use.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdecimal() and int(requested):
        return int(requested)
    if parameters < SMALL:
        return 1
    # macOS has no affinity, only a number of cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
