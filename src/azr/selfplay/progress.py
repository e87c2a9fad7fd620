"""Measured progress: how much the solver has recently improved at tasks as long as a new one.

An addition to learnability, which is also high where nothing is ever learned (SOAR, arXiv 2601.18778). It is a function
of the buffer alone, so a resumed run computes the same.
"""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

from azr.domains.base import Domain, length_of
from azr.selfplay.buffer import TaskBuffer
from azr.types import Kind

WINDOW = 5
"""Steps in each of the two spans that are compared."""

Bucket = tuple[Kind, int | None]
"""A kind and a length; None in a domain that does not measure it."""


def measured_progress(buffer: TaskBuffer, domain: Domain, step: int) -> Mapping[Bucket, float]:
    """The rise of the mean solve rate from one span of steps to the next, by kind and length.

    The tasks of the last `WINDOW` steps before `step` are compared with those of the `WINDOW` steps before, by the
    solve rates of their latest attempts. A bucket without tasks in both spans is left out, and so are seeds.

    Returns:
        values in [-1, 1].
    """
    rates: dict[Bucket, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for task, rate in buffer.solve_rates():
        span, _ = divmod(step - 1 - task.born, WINDOW)
        if task.born > 0 and span in (0, 1):
            rates[task.kind, length_of(domain, task)][span].append(rate)
    return {bucket: fmean(now) - fmean(before) for bucket, (now, before) in rates.items() if now and before}
