"""What a run prints at its end: its tasks, and held-out accuracy before and after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from azr.analysis.held_out import gain_lines
from azr.analysis.text import duration
from azr.run.checkpoint import BUFFER, Checkpoints, State
from azr.run.directory import EVENTS, METRICS, MODEL, read_jsonl
from azr.selfplay.buffer import task_from_json
from azr.types import Task


def closing_lines(run: Path, state: State, steps: int, show: Callable[[Task], str], *, stopped: bool) -> Iterator[str]:
    """What the run in folder `run` prints at its end, from its logs; `show` of its domain writes a task."""
    if stopped:
        yield f"stopped after step {state.step} of {steps}; continue with: azr train --resume {run}"
        return
    yield f"{steps} steps in {duration(state.seconds)}"
    yield from _tasks(run, show)
    found = [record["held_out"] for record in read_jsonl(run / METRICS) if "held_out" in record]
    if len(found) >= 2:
        yield "held-out accuracy at temperature 0, untrained -> trained:"
        yield from gain_lines(found[0], found[-1])
    if (run / MODEL).is_dir():
        yield f"model: {run / MODEL} (loads with transformers' AutoModelForCausalLM.from_pretrained)"
    elif (tasks := Checkpoints(run, keep=1).newest()) is not None:
        yield f"tasks: {tasks / BUFFER} (a run starts from them with selfplay.seed_file)"


def _tasks(run: Path, show: Callable[[Task], str]) -> Iterator[str]:
    """The first and the last admitted task of each kind, without seeding."""
    first: dict[str, dict[str, Any]] = {}
    last: dict[str, dict[str, Any]] = {}
    for event in read_jsonl(run / EVENTS):
        if event["event"] == "task" and event["step"] > 0 and event["admitted"]:
            first.setdefault(event["task"]["kind"], event)
            last[event["task"]["kind"]] = event
    for when, tasks in (("at the start", first), ("at the end", last)):
        for kind, event in tasks.items():
            yield f"{kind} task that it proposed {when} (step {event['step']}):"
            yield from (f"    {line}" for line in show(task_from_json(event["task"])).splitlines())
