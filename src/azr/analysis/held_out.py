"""Held-out accuracy over a run, from one mark per task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from azr.analysis.statistics import Interval, bootstrap_gain, bootstrap_mean, mean_of_kinds, wilson
from azr.analysis.text import in_points
from azr.types import Kind

LENGTHS = 6
"""Accuracy by length is shown for at most this many groups of tasks."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the held-out set, at temperature 0."""

    step: int  # of the evaluated model; 0 is untrained
    marks: Mapping[Kind, Sequence[int]]  # 1 or 0 for each task, by kind
    first: Evaluation | None = None  # the run's first evaluation, on the same tasks; None if this is it
    lengths: Mapping[Kind, Sequence[int | None]] = field(default_factory=dict)  # of the same tasks; None if unknown

    @property
    def tasks(self) -> int:
        """Number of tasks."""
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
    def gain(self) -> tuple[float, Interval] | None:
        """Gain in accuracy over the first evaluation, and its paired 95 % interval; None for the first.

        Raises:
            ValueError: the two were not measured on the same tasks.
        """
        if self.first is None:
            return None
        return self.accuracy - self.first.accuracy, bootstrap_gain(self.first.marks, self.marks)

    def summary(self) -> dict[str, Any]:
        """Accuracies and 95 % intervals as JSON.

        Returns:
            mean (bootstrap), kinds (Wilson), lengths (Wilson; see `by_length`) if they are known, and gain except for
            the first.
        """
        found: dict[str, Any] = {
            "mean": {"accuracy": self.accuracy, "interval": self.interval},
            "kinds": {kind: _share(of) for kind, of in self.marks.items()},
        }
        if lengths := self.by_length():
            found["lengths"] = {name: _share(of) for name, of in lengths.items()}
        if self.gain is not None:
            rise, interval = self.gain
            found["gain"] = {"accuracy": rise, "interval": interval}
        return found

    def by_length(self) -> dict[str, list[int]]:
        """Marks by length of the task, in ascending order, without tasks of unknown length.

        A length has a group of its own, such as "3", if there are at most `LENGTHS`. Otherwise neighbouring lengths
        share one, such as "4-6", so that the groups have about the same number of tasks.
        """
        marks: dict[int, list[int]] = {}
        for kind, of in self.lengths.items():
            for length, mark in zip(of, self.marks[kind], strict=True):
                if length is not None:
                    marks.setdefault(length, []).append(mark)
        return {
            str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]}-{lengths[-1]}": [
                mark for length in lengths for mark in marks[length]
            ]
            for lengths in _groups({length: len(of) for length, of in marks.items()})
        }

    def in_words(self, guess: float | None) -> str:
        """One line: accuracy, interval, gain over the untrained model, and accuracy of a random guess."""
        low, high = self.interval
        parts = [f"{self.accuracy:.1%} ({low:.1%} to {high:.1%})"]
        if self.gain is not None:
            parts.append(f"{in_points(*self.gain)} on the untrained model")
        if guess is not None:
            parts.append(f"a random guess {guess:.1%}")
        return ", ".join(parts)


def gain_lines(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The gain between two values of `held_out` in metrics.jsonl: by kind, and in the mean with its 95 % interval."""
    for kind, old in before["kinds"].items():
        new = after["kinds"][kind]
        yield f"  {kind:<10} {old['accuracy']:6.1%} -> {new['accuracy']:6.1%}   ({old['tasks']} tasks)"
    old, new = before["mean"]["accuracy"], after["mean"]["accuracy"]
    gain = in_points(new - old, bootstrap_gain(before["marks"], after["marks"]), named="95 % interval ")
    yield f"  {'mean':<10} {old:6.1%} -> {new:6.1%}   gain {gain}"
    yield f"  random guess {before['guess']:.1%}"


class HeldOutMarks:
    """Collects the marks of held-out answers. Keeps evaluations, because their intervals take time."""

    def __init__(self) -> None:
        self._marks: dict[int, dict[Kind, list[int]]] = {}
        self._lengths: dict[int, dict[Kind, list[int | None]]] = {}
        self._known: dict[int, Evaluation] = {}

    def add(self, step: int, kind: Kind, score: float, length: int | None = None) -> None:
        """Add one answer, with the length of its task if that is known."""
        self._marks.setdefault(step, {}).setdefault(kind, []).append(int(score >= 1.0))
        self._lengths.setdefault(step, {}).setdefault(kind, []).append(length)
        self._known.pop(step, None)

    def evaluations(self) -> list[Evaluation]:
        """The complete ones, with as many tasks as the first. The last one may still be being written."""
        found: list[Evaluation] = []
        for step, marks in sorted(self._marks.items()):
            first = found[0] if found else None
            if first is None or _sizes(marks) == _sizes(first.marks):
                copy = {kind: list(of) for kind, of in marks.items()}
                lengths = {kind: list(of) for kind, of in self._lengths[step].items()}
                found.append(self._known.setdefault(step, Evaluation(step, copy, first, lengths)))
        return found


def _share(marks: Sequence[int]) -> dict[str, Any]:
    return {"accuracy": sum(marks) / len(marks), "interval": wilson(sum(marks), len(marks)), "tasks": len(marks)}


def _groups(tasks: Mapping[int, int]) -> list[list[int]]:
    """Lengths in at most `LENGTHS` groups of neighbours; `tasks` has the number of tasks of each length."""
    if len(tasks) <= LENGTHS:
        return [[length] for length in sorted(tasks)]
    groups: dict[int, list[int]] = {}
    total, shorter = sum(tasks.values()), 0
    for length in sorted(tasks):
        middle = shorter + tasks[length] / 2
        groups.setdefault(int(middle * LENGTHS / total), []).append(length)
        shorter += tasks[length]
    return list(groups.values())


def _sizes(marks: Mapping[Kind, Sequence[int]]) -> dict[Kind, int]:
    return {kind: len(of) for kind, of in marks.items()}
