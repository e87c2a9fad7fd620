"""What trackers receive, and the contract that they implement."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from azr.analysis.metrics import numbers
from azr.selfplay.records import StepRecord
from azr.selfplay.rewards import mean
from azr.types import Kind, Task

SHOWN_TIMES = 10
"""How often a run sends sample tasks."""
SHOWN_PER_KIND = 2


@dataclass(frozen=True, slots=True)
class SampleTask:
    """A row of the table of sample tasks; None without attempts, and without a learning proposer."""

    kind: str
    task: str
    solve_rate: float | None
    reward: float | None


COLUMNS = [column.name for column in fields(SampleTask)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of metrics."""

    step: int  # its number
    series: str  # "step" or "held_out"; steps only increase within a series
    values: Mapping[str, float]  # its numbers, under paths such as "learner/loss"
    tasks: Sequence[SampleTask] = ()  # sample tasks, for some of the steps

    def rows(self) -> list[list[Any]]:
        """The table of sample tasks, in the order of `COLUMNS`."""
        return [list(astuple(task)) for task in self.tasks]


@dataclass(frozen=True, slots=True)
class About:
    """The run that a tracker follows, with its resolved configuration as a tree and as text.

    `id` is what the tracker called the run when it was first opened; None the first time.
    """

    folder: Path
    project: str
    name: str
    config: Mapping[str, Any] = field(repr=False)
    toml: str = field(repr=False)
    id: str | None = None


class Tracker(Protocol):
    """One run in one tracker. All methods are called from one thread; an exception ends only this tracker."""

    def open(self, about: About) -> str:
        """Start a run, or continue the one with `about.id`; returns the id to continue with next time."""

    def log(self, entry: Entry) -> None:
        """Send a line of metrics."""

    def close(self) -> None:
        """Send what is left."""


def entry(record: Mapping[str, Any], tasks: Sequence[SampleTask] = ()) -> Entry:
    """Convert a line of metrics.jsonl."""
    series = "held_out" if "held_out" in record else "step"
    return Entry(record["step"], series, dict(numbers(record)), tasks)


def verbatim(text: str) -> str:
    """Indent text, so that Markdown shows it as a code block that nothing within can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def is_due(step: int, steps: int) -> bool:
    """Whether sample tasks are sent after this step: `SHOWN_TIMES` times per run, and after the last step."""
    return step % max(1, steps // SHOWN_TIMES) == 0 or step == steps


def sample_tasks(record: StepRecord, show: Callable[[Task], str]) -> Iterator[SampleTask]:
    """The first tasks of each kind that a step admitted, as `show` of their domain writes them."""
    rewards = {rollout.id: rollout.reward for rollout in record.rollouts}
    admitted = {task.id for task in record.admitted}
    seen = Counter[Kind]()
    for episode in record.episodes:
        task = episode.task
        if task is not None and task.id in admitted and seen[task.kind] < SHOWN_PER_KIND:
            seen[task.kind] += 1
            rate = mean(episode.attempts.scores) if episode.attempts else None
            yield SampleTask(task.kind, show(task), rate, rewards.get(episode.id))
