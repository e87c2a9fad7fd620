"""What `azr plan` does: count what a run needs, and try it out where it is to be timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from azr.plan.clock import Builders
from azr.plan.report import lines
from azr.train.start import make_learner, make_sandbox, open_parts, resolve


def plan(source: str, assignments: Sequence[str], gpu: str | None, *, timed: bool = True) -> Iterator[str]:
    """What a run needs, against what this machine or a known card has, line by line.

    Args:
        source: preset or file.
        assignments: overrides.
        gpu: a known card's name; None: this machine.
        timed: try the run out on this machine, which takes a minute or two.
    """
    builders = Builders(
        parts=open_parts,
        sandbox=lambda config: make_sandbox(config.sandbox),
        learner=lambda config: lambda policy: make_learner(config, policy),
    )
    return lines(lambda more: resolve(source, [*assignments, *more]), gpu, builders if timed else None)
