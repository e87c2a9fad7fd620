"""What a tracker is told, and the contract that the three of them keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from azr.errors import UserError

UNTOLD = ("step", "marks")
"""Parts of a line of metrics that are no metric: its number, and the marks of single held-out tasks."""


@dataclass(frozen=True, slots=True)
class SampleTask:
    """A row of the table of sample tasks.

    Attributes:
        kind: of the task.
        task: all of it, as its domain shows it to people.
        solve_rate: share of the attempts that were right; None where there were none.
        reward: what the proposal earned; None where the proposer does not learn.
    """

    kind: str
    task: str
    solve_rate: float | None
    reward: float | None


COLUMNS = ("kind", "task", "solve_rate", "reward")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of metrics.

    Attributes:
        step: its number.
        sort: "step" or "held_out"; within a run the steps of each sort only rise.
        values: the numbers in it, under paths such as "learner/loss".
        tasks: sample tasks, a few times in a run.
    """

    step: int
    sort: str
    values: Mapping[str, float]
    tasks: Sequence[SampleTask] = ()

    def rows(self) -> list[list[Any]]:
        """The table of sample tasks, in the order of `COLUMNS`."""
        return [list(astuple(task)) for task in self.tasks]


@dataclass(frozen=True, slots=True)
class About:
    """The run that is followed.

    Attributes:
        folder: the run's.
        project, name: what trackers call it.
        config: the resolved configuration, as a tree.
        toml: the same as text.
        id: the tracker's own name of the run, noted when it was first followed; None before that.
    """

    folder: Path
    project: str
    name: str
    config: Mapping[str, Any] = field(repr=False)
    toml: str = field(repr=False)
    id: str | None = None


class Tracker(Protocol):
    """One run in one tracker. All its methods are called from one thread; what they raise ends the tracker alone."""

    def open(self, about: About) -> str | None:
        """Begin, or go on with the run of that id; returns the id to go on with next time, where it has one."""
        ...

    def log(self, entry: Entry) -> None:
        """Hand on a line of metrics."""
        ...

    def close(self) -> None:
        """Send whatever is left."""
        ...


def entry(record: Mapping[str, Any], tasks: Sequence[SampleTask] = ()) -> Entry:
    """A line of metrics.jsonl as trackers want it."""
    sort = "held_out" if "held_out" in record else "step"
    return Entry(record["step"], sort, dict(_numbers(record)), tasks)


def verbatim(text: str) -> str:
    """Text that Markdown shows as it is: a block of code that no line within can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def missing(extra: str, error: ImportError) -> UserError:
    """What to say when a tracker is asked for whose library is not there."""
    return UserError(f"trackers.use = {extra} needs the extra `{extra}` ({error}): pip install 'azr[{extra}]'")


def _numbers(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers below a node by their paths; an interval as its two ends, words as how many there are."""
    for key, value in tree.items():
        if key in UNTOLD:
            continue
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{path}{key}/")
        elif key == "interval":
            yield from zip((f"{path}low", f"{path}high"), value, strict=True)
        elif isinstance(value, list):
            yield f"{path}{key}", float(len(value))
        elif value is not None:
            yield f"{path}{key}", float(value)
