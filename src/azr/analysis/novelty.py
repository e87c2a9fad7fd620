"""Is self-play still inventing? Measures over a step's tasks and rewards, and alarms in words when it goes stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from azr.selfplay.buffer import TaskBuffer
from azr.types import Task

TRIVIAL_ALARM = 0.2
"""Share of trivial new tasks, such as identity and constant programs, above which self-play earns nothing from them."""
FLAT_ALARM = 0.9
"""Share of rollouts without any advantage, above which a step teaches next to nothing."""
SHAPE_ALARM = 0.34
"""Distinct shapes among new tasks, below which the proposer repeats itself."""
DEAD_ALARM = 0.9
"""Share of new tasks that none, or all, attempts solve, above which proposals earn next to nothing."""


def diversity(tasks: Sequence[Task], trivial: Sequence[str | None], buffer: TaskBuffer) -> dict[str, float]:
    """Shares over the new tasks of a step; empty where there are none.

    Args:
        tasks: the accepted ones.
        trivial: the degenerate form of each, or None.
        buffer: all tasks, these among them.
    """
    if not tasks:
        return {}
    forms = Counter(form for form in trivial if form is not None)
    shapes = Counter(task.shape for task in tasks)
    return {
        "trivial": forms.total() / len(tasks),
        **{f"trivial_{form}": count / len(tasks) for form, count in sorted(forms.items())},
        "distinct_shapes": len(shapes) / len(tasks),
        "known_shapes": sum(n for shape, n in shapes.items() if buffer.with_shape(shape) > n) / len(tasks),
    }


def signal(solve_rates: Iterable[float], advantages: Iterable[Iterable[float]]) -> dict[str, float]:
    """Shares of tasks that all, or no, attempts solve, and of rollouts whose advantage is zero."""
    rates, flat = list(solve_rates), [not any(advantages_T) for advantages_T in advantages]
    return {
        "all_solved": _share(rate == 1 for rate in rates),
        "none_solved": _share(rate == 0 for rate in rates),
        "zero_advantage": _share(flat),
    }


def alarms(measures: Mapping[str, float]) -> list[str]:
    """What is wrong, in words; empty while nothing is."""
    said = []
    if measures.get("trivial", 0.0) > TRIVIAL_ALARM:
        forms = [name.removeprefix("trivial_").replace("_", " ") for name in measures if name.startswith("trivial_")]
        said.append(f"{measures['trivial']:.0%} of new tasks are trivial" + (f": {', '.join(forms)}" if forms else ""))
    if measures.get("distinct_shapes", 1.0) < SHAPE_ALARM:
        said.append(f"only {measures['distinct_shapes']:.0%} of new tasks differ in shape")
    for name, who in (("all_solved", "every"), ("none_solved", "no")):
        if measures.get(name, 0.0) > DEAD_ALARM:
            said.append(
                f"{who} attempt solves {measures[name]:.0%} of new tasks, so proposing them earns next to nothing"
            )
    if measures.get("zero_advantage", 0.0) > FLAT_ALARM:
        said.append(f"{measures['zero_advantage']:.0%} of rollouts have no advantage, so they teach nothing")
    return said


def _share(marks: Iterable[bool]) -> float:
    values = list(marks)
    return sum(values) / len(values) if values else 0.0
