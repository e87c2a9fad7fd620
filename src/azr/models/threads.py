"""How many threads torch gets, and how many cores there are for further processes."""

import os
import re
import time
from pathlib import Path

SMALL = 5_000_000
"""Models with fewer parameters than this compute on one thread.

The demo's model, of 0.9 million, is as fast on one thread as on two on an idle machine, and 30 times slower on two when
something else runs (docs/performance.md).
"""


_SAMPLES, _PAUSE = 5, 0.02
_LOAD = Path("/proc/loadavg")


def requested() -> int | None:
    """OMP_NUM_THREADS, if it is a positive number."""
    words = os.environ.get("OMP_NUM_THREADS", "")
    return int(words) if words.isdecimal() and int(words) else None


def threads(parameters: int) -> int:
    """How many threads torch should use on a CPU for a model with this many parameters.

    OMP_NUM_THREADS if it is a positive number, else 1 for a small model, else the number of cores that this process may
    use.
    """
    return requested() or (1 if parameters < SMALL else cores())


def cores() -> int:
    """Cores that this process may use."""
    # macOS has no affinity, only a number of cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_cores() -> int:
    """Cores that nothing but this process uses now; takes a tenth of a second.

    Linux tells how many threads want to run at a moment, of which a few moments are looked at. Elsewhere the load
    average of the last minute has to do.
    """
    return max(0, cores() - round(_others()))


def _others() -> float:
    try:
        wanting = []
        for _ in range(_SAMPLES):
            running = re.match(r"(?:\S+ ){3}(\d+)/", _LOAD.read_text())
            wanting.append(int(running[1]) - 1 if running else 0)  # this process reads the file
            time.sleep(_PAUSE)
        return sum(wanting) / len(wanting)
    except OSError:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
