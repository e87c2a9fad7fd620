"""Turn a run's events into rows: one per task, and one per rollout with its verdict, reward and prompt.

`TASKS` and `ROLLOUTS` are their columns, for the files and for the card.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from azr.domains.base import Domain, length_of
from azr.errors import UserError
from azr.selfplay.buffer import task_from_json
from azr.streams import stream
from azr.types import Role, Task

Row = dict[str, Any]

_EVENTS = {"proposal", "attempt", "verdict", "task", "reward", "advantage"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Column(NamedTuple):
    """Arrow type ("[string]" is a list of strings) and meaning."""

    type: str
    meaning: str


TASKS = {
    "id": Column("string", "content address"),
    "kind": Column("string", "of reasoning"),
    "text": Column("string", "the whole task for people, gold value included"),
    "prompt": Column("string", "what the solver is asked, before any chat template"),
    "answer": Column("string", "the gold answer in the form that the prompt asks for"),
    "data": Column("string", "the task's parts as JSON, in the domain's own terms"),
    "step": Column("int32", "at which it was proposed; 0: before training, by the untrained model"),
    "proposal": Column("string", "the rollout that proposed it; null: the run began with it"),
    "admitted": Column("bool", "whether it entered the task buffer"),
    "parents": Column("[string]", "tasks that the proposer was shown"),
    "fingerprint": Column("string", "equal for tasks that differ only in spelling"),
    "shape": Column("string", "equal for tasks that differ only in names and constants"),
    "trivial": Column("string", "its degenerate form, if it has one"),
    "length": Column("int32", "steps that a solver must follow, on the domain's scale; null: it does not measure them"),
    "depth": Column("int32", "times that tasks were built on one another to get it; null: not recorded"),
    "complexity": Column("float64", "on the domain's scale; about 1 for a hard one"),
    "novelty": Column("float64", "1 - the largest similarity to a parent"),
    "diversity": Column("float64", "1 - share of the buffer's tasks with the same answer"),
    "attempts": Column("int32", "number of attempts when it was new"),
    "solve_rate": Column("float64", "share of those attempts that were correct; null without attempts"),
}

ROLLOUTS = {
    "id": Column("string", "step/role/kind/episode/attempt"),
    "step": Column("int32", "0: before training"),
    "role": Column("string", "propose or solve"),
    "kind": Column("string", "of the task"),
    "group": Column("string", "equal for completions of one prompt"),
    "task": Column("string", "the task attempted or proposed; null if the proposal was rejected"),
    "references": Column("[string]", "tasks that the proposer was shown"),
    "prompt": Column("string", "before any chat template"),
    "completion": Column("string", "what the model wrote"),
    "tokens": Column("int32", "its length"),
    "finished": Column("bool", "whether the model ended it itself"),
    "well_formed": Column("bool", "whether it has the format that the prompt asks for"),
    "score": Column("float64", "share of the answer that is correct; 1 for an accepted proposal"),
    "reason": Column("string", "of the verdict"),
    "detail": Column("string", "of the verdict, for people"),
    "reward": Column("float64", "Eq. 6; null if it was not used for training"),
    "advantage": Column("float64", "mean over its tokens; null if it was not used for training"),
}

PARTS = {"tasks": TASKS, "rollouts": ROLLOUTS}
"""The dataset's configurations, by name."""


@dataclass(slots=True)
class StepRows:
    """The rows of one step in the order of the events; rollouts by id."""

    tasks: list[Row] = field(default_factory=list)
    rollouts: dict[str, Row] = field(default_factory=dict)


class Rows:
    """Turns events into rows.

    The run's domain renders the tasks and the prompts, which are not in the events. `seed` is the run's, and `seeds`
    are the tasks in its buffers when self-play began.
    """

    def __init__(self, domain: Domain, seed: int, seeds: Iterable[Task]) -> None:
        self._domain, self._seed = domain, seed
        self._known = {task.id: task for task in seeds}
        self._seeds = list(self._known.values())

    def steps(self, events: Iterable[Mapping[str, Any]]) -> Iterator[StepRows]:
        """Yield the rows of each step, seed tasks that the run was given first; only one step is in memory at a time.

        Held-out answers are left out, so that nobody trains on the test set.

        Raises:
            UserError: an event is not in the form that runs write.
        """
        number, rows = 0, StepRows()
        for event in events:
            if event.get("event") not in _EVENTS:
                continue
            if event["step"] != number:
                yield self._finished(number, rows)
                number, rows = event["step"], StepRows()
            try:
                self._add(rows, event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                where = f"{event['event']} {event.get('id', '')} of step {event['step']}"
                raise UserError(
                    f"the run's events were changed, or lack something: {where}: {type(error).__name__}: {error}"
                ) from error
        yield self._finished(number, rows)

    def _finished(self, step: int, rows: StepRows) -> StepRows:
        """Add the solve rates of the tasks and, after seeding, the seed tasks that the run was given."""
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for row in rows.rollouts.values():
            if row["role"] == Role.SOLVE and row["score"] is not None:
                scores[row["group"]].append(float(row["score"] >= 1))
        for task in rows.tasks:
            if own := scores[task["proposal"].replace("/propose/", "/solve/")]:
                task |= {"attempts": len(own), "solve_rate": fmean(own)}
        if step == 0:
            proposed = {row["id"] for row in rows.tasks}
            rows.tasks[:0] = [self._task_row(task) for task in self._seeds if task.id not in proposed]
        return rows

    def _add(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "proposal":
                row = self._rollout(event, Role.PROPOSE, event["id"])
                row |= {"references": list(event["references"]), "prompt": self._brief(event)}
                rows.rollouts[event["id"]] = row
            case "attempt":
                row = self._rollout(event, Role.SOLVE, event["id"].rpartition("/")[0])
                task = self._known.get(event["task"])
                row |= {"task": event["task"], "prompt": task and whole(self._domain.solve_prompt(task))}
                rows.rollouts[event["id"]] = row
            case "verdict":
                about = {name: event[name] for name in ("well_formed", "score", "reason")}
                rows.rollouts[event["id"]] |= about | {"detail": whole(event["detail"])}
            case "task":
                task = task_from_json(event["task"])
                self._known[task.id] = task
                rows.rollouts[event["proposal"]]["task"] = task.id
                born = {name: event[name] for name in ("step", "proposal", "admitted", "trivial")}
                intrinsic = {name: value for name, value in event["intrinsic"].items() if name in TASKS}
                depth = {"depth": event["task"].get("depth")}  # runs of azr 0.1 did not record it
                rows.tasks.append(self._task_row(task) | born | intrinsic | depth)
            case "reward" | "advantage" as name:
                rows.rollouts[event["id"]][name] = event[name]

    def _brief(self, event: Mapping[str, Any]) -> str | None:
        """The proposer's prompt; None if a reference is unknown."""
        references = [self._known[name] for name in event["references"] if name in self._known]
        if len(references) < len(event["references"]):
            return None
        index = int(event["id"].rpartition("/")[2])
        rng = stream(self._seed, event["step"], "brief", event["kind"], index)
        return whole(self._domain.propose_prompt(event["kind"], references, rng).text)

    def _rollout(self, event: Mapping[str, Any], role: Role, group: str) -> Row:
        about = {name: event[name] for name in ("id", "step", "kind", "tokens", "finished")}
        own = {"role": str(role), "group": group, "references": [], "completion": whole(event["text"])}
        return dict.fromkeys(ROLLOUTS) | about | own

    def _task_row(self, task: Task) -> Row:
        return dict.fromkeys(TASKS) | {
            "id": task.id,
            "kind": task.kind,
            "text": whole(self._domain.show(task)),
            "prompt": whole(self._domain.solve_prompt(task)),
            "answer": whole(self._domain.gold(task)),
            "data": json.dumps(task.data, ensure_ascii=True),
            "fingerprint": task.fingerprint,
            "shape": task.shape,
            "parents": list(task.parents),
            "length": length_of(self._domain, task),
            "depth": task.depth,
            "step": task.born,
            "admitted": True,
            "attempts": 0,
        }


def whole(text: str) -> str:
    """Escape lone surrogates, which programs may print and UTF-8 cannot encode."""
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
