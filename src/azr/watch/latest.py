"""The newest task of each kind, with how it fared."""

from __future__ import annotations

from dataclasses import dataclass

from azr.analysis.follow import Follower
from azr.run.directory import EVENTS
from azr.run.log import TOKENS, Log
from azr.selfplay.buffer import task_from_json
from azr.types import Kind, Task


@dataclass(frozen=True, slots=True)
class Newest:
    """A task and what became of it.

    Attributes:
        task: the task.
        solved, attempts: how many of its attempts are right, of how many.
        reward: of the proposal; None where nothing was learnt from it.
    """

    task: Task
    solved: int
    attempts: int
    reward: float | None


def newest(follower: Follower) -> dict[Kind, Newest]:
    """Of the last complete step, the last task of each kind that entered the buffer."""
    if not follower.analysis.steps:
        return {}
    step = follower.analysis.steps[-1].step
    columns = follower.analysis.family.columns
    rows = {columns["task"][row]: row for row in range(len(columns["step"])) if columns["step"][row] == step}
    found: dict[Kind, Newest] = {}
    for _, event in Log(follower.run / EVENTS, skip=TOKENS, offset=follower.offsets[step]).new():
        if event.get("step") != step:
            break
        if event.get("event") == "task" and event["admitted"] and event["task"]["id"] in rows:
            row = rows[event["task"]["id"]]
            fared = (columns[name][row] for name in ("solved", "attempts", "reward"))
            found[event["task"]["kind"]] = Newest(task_from_json(event["task"]), *fared)
    return found
