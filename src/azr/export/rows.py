"""Turn a run's events into rows: one per task, and one per rollout with its verdict, reward and prompt."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from azr.domains.base import Domain
from azr.errors import UserError
from azr.selfplay.buffer import task_from_json
from azr.streams import stream
from azr.types import Role, Task

Row = dict[str, Any]

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class StepRows:
    """The rows of one step.

    Attributes:
        tasks: in the order of the events.
        rollouts: by their ids, in the order of the events.
    """

    tasks: list[Row] = field(default_factory=list)
    rollouts: dict[str, Row] = field(default_factory=dict)


class Rows:
    """Turns events into rows.

    Args:
        domain: of the run; it renders tasks, and the prompts, which are not in the events.
        seed: of the run.
        seeds: the tasks in its buffers when self-play began.
    """

    def __init__(self, domain: Domain, seed: int, seeds: Iterable[Task]) -> None:
        self._domain, self._seed = domain, seed
        self._known = {task.id: task for task in seeds}
        self._seeds = list(self._known.values())

    def steps(self, events: Iterable[Mapping[str, Any]]) -> Iterator[StepRows]:
        """Yields the rows of each step, with the given seed tasks first; only one step is in memory at a time.

        Held-out answers are left out, so that nobody trains on the test set.

        Raises:
            UserError: an event is not in the form that runs write.
        """
        number, rows, proposed = 0, StepRows(), set[str]()
        for event in events:
            if event.get("event") not in _HANDLERS:
                continue
            if event["step"] != number:
                yield self._finished(number, rows, proposed)
                number, rows = event["step"], StepRows()
            try:
                _HANDLERS[event["event"]](self, rows, event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                where = (
                    f"{event['event']} {event.get('id', '')} of step {event['step']}: {type(error).__name__}: {error}"
                )
                raise UserError(f"the run's events were changed, or lack something: {where}") from error
            if event["event"] == "task":
                proposed.add(event["task"]["id"])
        yield self._finished(number, rows, proposed)

    def _finished(self, step: int, rows: StepRows, proposed: set[str]) -> StepRows:
        """Add what needs the whole step: the solve rates of its tasks and, after seeding, the given seed tasks."""
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for row in rows.rollouts.values():
            if row["role"] == Role.SOLVE and row["score"] is not None:
                scores[row["group"]].append(float(row["score"] >= 1))
        for task in rows.tasks:
            if own := scores[task["proposal"].replace("/propose/", "/solve/")]:
                task |= {"attempts": len(own), "solve_rate": fmean(own)}
        if step == 0:
            rows.tasks[:0] = [self._task_row(task) for task in self._seeds if task.id not in proposed]
        return rows

    def _proposal(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        references = [self._known.get(name) for name in event["references"]]
        row = self._rollout(event, Role.PROPOSE, None)
        row["references"] = list(event["references"])
        row["prompt"] = self._brief(event, [task for task in references if task is not None])
        rows.rollouts[event["id"]] = row

    def _brief(self, event: Mapping[str, Any], references: Sequence[Task]) -> str | None:
        """The proposer's prompt; None where a reference is unknown."""
        if len(references) < len(event["references"]):
            return None
        index = int(event["id"].rpartition("/")[2])
        rng = stream(self._seed, event["step"], "brief", event["kind"], index)
        return whole(self._domain.propose_prompt(event["kind"], references, rng).text)

    def _attempt(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        row = self._rollout(event, Role.SOLVE, event["task"])
        task = self._known.get(event["task"])
        row["prompt"] = None if task is None else whole(self._domain.solve_prompt(task))
        rows.rollouts[event["id"]] = row

    def _rollout(self, event: Mapping[str, Any], role: Role, task: str | None) -> Row:
        about = {name: event[name] for name in ("id", "step", "kind", "tokens", "finished")}
        group = event["id"] if role == Role.PROPOSE else event["id"].rpartition("/")[0]
        return about | {
            "role": str(role),
            "group": group,
            "task": task,
            "references": [],
            "completion": whole(event["text"]),
            **dict.fromkeys(("prompt", "well_formed", "score", "reason", "detail", "reward", "advantage")),
        }

    def _verdict(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        row = rows.rollouts[event["id"]]
        row |= {name: event[name] for name in ("well_formed", "score", "reason")}
        row["detail"] = whole(event["detail"])

    def _task(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        task = task_from_json(event["task"])
        self._known[task.id] = task
        rows.rollouts[event["proposal"]]["task"] = task.id
        born = {name: event[name] for name in ("step", "proposal", "admitted", "trivial")}
        rows.tasks.append(self._task_row(task) | born | event["intrinsic"])

    def _task_row(self, task: Task) -> Row:
        return {
            "id": task.id,
            "kind": task.kind,
            "text": whole(self._domain.show(task)),
            "prompt": whole(self._domain.solve_prompt(task)),
            "answer": whole(self._domain.gold(task)),
            "data": json.dumps(task.data, ensure_ascii=True),
            "fingerprint": task.fingerprint,
            "shape": task.shape,
            "parents": list(task.parents),
            "step": task.born,
            "admitted": True,
            "attempts": 0,
            **dict.fromkeys(("proposal", "trivial", "complexity", "novelty", "diversity", "solve_rate")),
        }

    def _reward(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        rows.rollouts[event["id"]]["reward"] = event["reward"]

    def _advantage(self, rows: StepRows, event: Mapping[str, Any]) -> None:
        rows.rollouts[event["id"]]["advantage"] = event["advantage"]


_HANDLERS = {
    "proposal": Rows._proposal,
    "attempt": Rows._attempt,
    "verdict": Rows._verdict,
    "task": Rows._task,
    "reward": Rows._reward,
    "advantage": Rows._advantage,
}


def whole(text: str) -> str:
    """Replace lone surrogates, which programs may print and UTF-8 cannot encode, by escape sequences."""
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
