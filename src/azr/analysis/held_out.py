"""Held-out accuracy over a run, recomputed from the verdict on every answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azr.analysis.statistics import Interval, bootstrap_gain, bootstrap_mean, mean_of_kinds, wilson
from azr.analysis.text import in_points
from azr.types import Kind


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out set, answered once at temperature 0.

    Attributes:
        step: of the model that answered; 0 is untrained.
        marks: 1 or 0 for each task, by kind.
        accuracy, interval: mean of kinds, with its 95 % bootstrap interval.
        kinds: accuracy and Wilson's 95 % interval of each kind.
        gain, gain_interval: what the mean rose by since the first evaluation, paired; None for the first.
    """

    step: int
    marks: Mapping[Kind, Sequence[int]]
    accuracy: float
    interval: Interval
    kinds: Mapping[Kind, tuple[float, Interval]]
    gain: float | None
    gain_interval: Interval | None

    @property
    def tasks(self) -> int:
        """How many were answered."""
        return sum(map(len, self.marks.values()))


def evaluation(step: int, marks: Mapping[Kind, Sequence[int]], first: Evaluation | None) -> Evaluation:
    """Judge one evaluation.

    Args:
        step: of the model.
        marks: 1 or 0 for each task, by kind.
        first: the run's first evaluation, of the same tasks; None if this is it.
    """
    return Evaluation(
        step=step,
        marks=marks,
        accuracy=mean_of_kinds(marks),
        interval=bootstrap_mean(marks),
        kinds={kind: (sum(of) / len(of), wilson(sum(of), len(of))) for kind, of in marks.items()},
        gain=None if first is None else mean_of_kinds(marks) - first.accuracy,
        gain_interval=None if first is None else bootstrap_gain(first.marks, marks),
    )


def gain_lines(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Held-out accuracy before and after by kind, and the gain in their mean with its 95 % interval."""
    for kind, old in before["kinds"].items():
        new = after["kinds"][kind]
        yield f"  {kind:<10} {old['accuracy']:6.1%} -> {new['accuracy']:6.1%}   ({old['tasks']} tasks)"
    old, new = before["mean"]["accuracy"], after["mean"]["accuracy"]
    gain = in_points(new - old, bootstrap_gain(before["marks"], after["marks"]), named="95 % interval ")
    yield f"  {'mean':<10} {old:6.1%} -> {new:6.1%}   gain {gain}"
    yield f"  random guess {before['guess']:.1%}"


class HeldOutMarks:
    """Collects the answers to held-out tasks and judges each evaluation once."""

    def __init__(self) -> None:
        self._marks: dict[int, dict[Kind, list[int]]] = {}
        self._judged: dict[int, Evaluation] = {}

    def add(self, step: int, kind: Kind, score: float) -> None:
        """Take in one answer."""
        self._marks.setdefault(step, {}).setdefault(kind, []).append(int(score >= 1.0))

    def evaluations(self) -> list[Evaluation]:
        """Those that are whole: as many tasks as the first has. The last one may still be being written."""
        found: list[Evaluation] = []
        for step, marks in sorted(self._marks.items()):
            first = found[0] if found else None
            if first is not None and _sizes(marks.items()) != _sizes(first.marks.items()):
                continue
            known = self._judged.get(step)
            if known is None or _sizes(known.marks.items()) != _sizes(marks.items()):
                known = evaluation(step, {kind: list(of) for kind, of in marks.items()}, first)
                self._judged[step] = known
            found.append(known)
        return found


def _sizes(marks: Iterable[tuple[Kind, Sequence[int]]]) -> dict[Kind, int]:
    return {kind: len(of) for kind, of in marks}
