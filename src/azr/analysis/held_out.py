"""Held-out accuracy over a run, from one mark for each task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from azr.analysis.statistics import Interval, bootstrap_gain, bootstrap_mean, mean_of_kinds, wilson
from azr.analysis.text import in_points
from azr.types import Kind


@dataclass(frozen=True)
class Evaluation:
    """The held-out set, answered once at temperature 0.

    Attributes:
        step: of the model that answered; 0 is untrained.
        marks: 1 or 0 for each task, by kind.
        first: the run's first evaluation, of the same tasks; None if this is it.
    """

    step: int
    marks: Mapping[Kind, Sequence[int]]
    first: Evaluation | None = None

    @property
    def tasks(self) -> int:
        """How many tasks were answered."""
        return sum(map(len, self.marks.values()))

    @cached_property
    def accuracy(self) -> float:
        """Mean of kinds."""
        return mean_of_kinds(self.marks)

    @cached_property
    def interval(self) -> Interval:
        """95 % bootstrap interval of the accuracy."""
        return bootstrap_mean(self.marks)

    @cached_property
    def kinds(self) -> dict[Kind, tuple[float, Interval]]:
        """Accuracy of each kind and its 95 % interval (Wilson)."""
        return {kind: (sum(of) / len(of), wilson(sum(of), len(of))) for kind, of in self.marks.items()}

    @cached_property
    def gain(self) -> tuple[float, Interval] | None:
        """How much the accuracy rose since the first evaluation, and its paired 95 % interval; None for the first.

        Raises:
            ValueError: the two were not made on the same tasks.
        """
        if self.first is None:
            return None
        return self.accuracy - self.first.accuracy, bootstrap_gain(self.first.marks, self.marks)

    def summary(self) -> dict[str, Any]:
        """Accuracies and intervals as JSON: mean, kinds, and gain unless it is the first evaluation."""
        kinds = {
            kind: {"accuracy": accuracy, "interval": interval, "tasks": len(self.marks[kind])}
            for kind, (accuracy, interval) in self.kinds.items()
        }
        found: dict[str, Any] = {"mean": {"accuracy": self.accuracy, "interval": self.interval}, "kinds": kinds}
        if self.gain is not None:
            rise, interval = self.gain
            found["gain"] = {"accuracy": rise, "interval": interval}
        return found

    def in_words(self, guess: float | None) -> str:
        """One line: accuracy, interval, the gain over the untrained model, and what a random guess reaches."""
        low, high = self.interval
        parts = [f"{self.accuracy:.1%} ({low:.1%} to {high:.1%})"]
        if self.gain is not None:
            parts.append(f"{in_points(*self.gain)} on the untrained model")
        if guess is not None:
            parts.append(f"a random guess {guess:.1%}")
        return ", ".join(parts)


def gain_lines(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Held-out accuracy before and after by kind, and the gain in their mean with its 95 % interval.

    Args:
        before: `held_out` of a line of metrics.jsonl.
        after: of a later one, of the same tasks.
    """
    for kind, old in before["kinds"].items():
        new = after["kinds"][kind]
        yield f"  {kind:<10} {old['accuracy']:6.1%} -> {new['accuracy']:6.1%}   ({old['tasks']} tasks)"
    old, new = before["mean"]["accuracy"], after["mean"]["accuracy"]
    gain = in_points(new - old, bootstrap_gain(before["marks"], after["marks"]), named="95 % interval ")
    yield f"  {'mean':<10} {old:6.1%} -> {new:6.1%}   gain {gain}"
    yield f"  random guess {before['guess']:.1%}"


class HeldOutMarks:
    """Collects the marks of held-out answers, and makes each evaluation of them once."""

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
                known = Evaluation(step, {kind: list(of) for kind, of in marks.items()}, first)
                self._judged[step] = known
            found.append(known)
        return found


def _sizes(marks: Iterable[tuple[Kind, Sequence[int]]]) -> dict[Kind, int]:
    return {kind: len(of) for kind, of in marks}
