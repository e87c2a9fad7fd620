"""Task buffers, one per kind: the source of references, and of tasks that fill up the solver's batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from azr.config import BufferConfig
from azr.types import JSON, Kind, Task


class TaskBuffer:
    """The tasks of all kinds, oldest first within a kind. A full buffer drops its oldest task for a new one."""

    def __init__(self, kinds: Iterable[Kind], config: BufferConfig) -> None:
        self._config = config
        self._tasks: dict[Kind, dict[str, Task]] = {kind: {} for kind in kinds}
        self._fingerprints: Counter[str] = Counter()
        self._shapes: Counter[str] = Counter()
        self._answers: dict[Kind, Counter[str]] = {kind: Counter() for kind in self._tasks}
        self._answer_of: dict[str, str] = {}
        self._solve_rates: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    def size(self, kind: Kind) -> int:
        """Number of tasks of a kind."""
        return len(self._tasks[kind])

    def tasks(self, *kinds: Kind) -> list[Task]:
        """All tasks of the given kinds, oldest first within each."""
        return [task for kind in kinds for task in self._tasks[kind].values()]

    @property
    def shapes(self) -> set[str]:
        """Shapes of all tasks."""
        return {task.shape for task in self.tasks(*self._tasks)}

    def refusal(self, task: Task, *, beside: Collection[Task] = ()) -> str | None:
        """Why a task may not be added: "duplicate" or "shape_limit"; None if it may.

        The tasks `beside` it will be added before it, and count as if they had been.
        """
        if self._config.reject_duplicates and (
            self._fingerprints[task.fingerprint] or any(other.fingerprint == task.fingerprint for other in beside)
        ):
            return "duplicate"
        limit = self._config.shape_limit
        if limit is not None and self._shapes[task.shape] + sum(other.shape == task.shape for other in beside) >= limit:
            return "shape_limit"
        return None

    def add(self, task: Task, *, step: int, answer: str = "") -> Task | None:
        """Stamp a task with the step and add it; a full buffer drops the oldest task of that kind.

        Returns:
            the stamped task; None if `refusal` forbids it, or if the same task is already there.
        """
        tasks = self._tasks[task.kind]
        if task.id in tasks or self.refusal(task) is not None:
            return None
        if len(tasks) >= self._config.cap:
            self._drop(next(iter(tasks.values())))
        stamped = replace(task, born=step)
        self._insert(stamped, answer)
        return stamped

    def draw(
        self,
        kinds: Sequence[Kind],
        count: int,
        rng: np.random.Generator,
        *,
        half_life: float | None = None,
        worth: Callable[[float], float] | None = None,
    ) -> list[Task]:
        """Draw up to `count` tasks of the kinds, without replacement.

        Args:
            kinds: the buffers to draw from, as one pool.
            count: number of tasks; fewer if the buffers have fewer.
            rng: the draw depends on it alone.
            half_life: a task's weight halves with this many newer tasks of its kind; None: age does not matter.
            worth: weights are proportional to this function of the solve rate that was last noted; a task worth 0, or
                without attempts, is drawn only if there are not enough others.
        """
        pool = self.tasks(*kinds)
        count = min(count, len(pool))
        if count == 0:
            return []
        weights = None
        if half_life is not None or worth is not None:
            age = np.concatenate([np.arange(self.size(kind))[::-1] for kind in kinds])
            weights = np.ones(len(pool)) if half_life is None else 0.5 ** (age / half_life)
            if worth is not None:
                weights *= [self._worth(task, worth) + 1e-6 for task in pool]
            weights += 1e-12  # above 0, so that `count` tasks can always be drawn
            weights /= weights.sum()
        chosen = rng.choice(len(pool), size=count, replace=False, p=weights)
        return [pool[int(index)] for index in chosen]

    def note(self, task: Task, solve_rate: float) -> None:
        """Remember the solve rate of a task's latest attempts; nothing if it is not in the buffer."""
        if task.id in self._tasks[task.kind]:
            self._solve_rates[task.id] = solve_rate

    def solve_rates(self) -> Iterator[tuple[Task, float]]:
        """The tasks whose solve rate was noted, with that rate."""
        for task in self.tasks(*self._tasks):
            if task.id in self._solve_rates:
                yield task, self._solve_rates[task.id]

    def rarity(self, kind: Kind, answer: str) -> float:
        """1 - the share of the kind's tasks that have this answer; 1 if there are no tasks."""
        answers = self._answers[kind]
        return 1.0 - answers[answer] / total if (total := answers.total()) else 1.0

    def copy(self) -> TaskBuffer:
        """A snapshot of the buffer; the tasks are shared."""
        other = TaskBuffer(self._tasks, self._config)
        for task in self.tasks(*self._tasks):
            other._insert(task, self._answer_of[task.id])
        other._solve_rates = dict(self._solve_rates)
        return other

    def dump(self) -> Iterator[str]:
        """One JSON line per task, in an order that `load` restores."""
        for task in self.tasks(*self._tasks):
            told = {"answer": self._answer_of[task.id]}
            noted = {"solve_rate": self._solve_rates[task.id]} if task.id in self._solve_rates else {}
            yield json.dumps(asdict(task) | told | noted, ensure_ascii=True)

    @classmethod
    def load(cls, lines: Iterable[str], kinds: Iterable[Kind], config: BufferConfig) -> TaskBuffer:
        """Restore exactly what `dump` wrote, except tasks of kinds without a buffer."""
        buffer = cls(kinds, config)
        for line in lines:
            record = json.loads(line)
            task = task_from_json(record)
            if task.kind in buffer._tasks:
                buffer._insert(task, record.get("answer", ""))
                if "solve_rate" in record:
                    buffer.note(task, record["solve_rate"])
        return buffer

    def _worth(self, task: Task, worth: Callable[[float], float]) -> float:
        return worth(self._solve_rates[task.id]) if task.id in self._solve_rates else 0.0

    def _insert(self, task: Task, answer: str) -> None:
        self._tasks[task.kind][task.id] = task
        self._fingerprints[task.fingerprint] += 1
        self._shapes[task.shape] += 1
        self._answers[task.kind][answer] += 1
        self._answer_of[task.id] = answer

    def _drop(self, task: Task) -> None:
        del self._tasks[task.kind][task.id]
        self._solve_rates.pop(task.id, None)
        for counter, key in (
            (self._fingerprints, task.fingerprint),
            (self._shapes, task.shape),
            (self._answers[task.kind], self._answer_of.pop(task.id)),
        ):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]  # else the counters would grow for as long as the run lasts


def task_from_json(record: Mapping[str, JSON]) -> Task:
    """A task from the JSON object that `dataclasses.asdict` makes of it; other keys are ignored."""
    fields = {key: value for key, value in record.items() if key in Task.__dataclass_fields__}
    return Task(**(fields | {"parents": tuple(record.get("parents", ()))}))
