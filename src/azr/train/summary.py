"""What a run prints at its end: its tasks, and held-out accuracy before and after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from azr.analysis.held_out import gain_lines
from azr.analysis.text import duration
from azr.run.checkpoint import BUFFER, Checkpoints, State
from azr.run.directory import EVENTS, METRICS, MODEL, read_jsonl
from azr.selfplay.buffer import task_from_json
from azr.types import Role, Task


def closing_lines(run: Path, state: State, steps: int, show: Callable[[Task], str], *, stopped: bool) -> Iterator[str]:
    """What the run in folder `run` prints at its end, from its logs; `show` of its domain writes a task."""
    if stopped:
        yield f"stopped after step {state.step} of {steps}; continue with: azr train --resume {run}"
        yield f"so far: azr report {run}"
        return
    yield f"{steps} steps in {duration(state.seconds)}"
    first, final, rollout = _examples(run)
    for when, examples in (("at the start", first), ("at the end", final)):
        for kind, event in examples.items():
            yield f"{kind} task that it proposed {when} (step {event['step']}):"
            yield from (f"    {line}" for line in show(task_from_json(event["task"])).splitlines())
    found = [record["held_out"] for record in read_jsonl(run / METRICS) if "held_out" in record]
    if len(found) >= 2:
        yield "held-out accuracy at temperature 0, untrained -> trained:"
        yield from gain_lines(found[0], found[-1])
    if (run / MODEL).is_dir():
        yield f"model: {run / MODEL} (loads with transformers' AutoModelForCausalLM.from_pretrained)"
    elif (tasks := Checkpoints(run, keep=1).newest()) is not None:
        yield f"tasks: {tasks / BUFFER} (a run starts from them with selfplay.seed_file)"
    yield from _next(run, rollout)


def _next(run: Path, rollout: str | None) -> Iterator[str]:
    """Commands to go on with; `rollout` is one that was learnt from."""
    commands = {f"azr report {run}": "curves and every task on one page"}
    if rollout is not None:
        commands[f"azr explain {run} {rollout}"] = "one attempt, from its text to the gradient"
    if (run / MODEL).is_dir():
        commands |= {f"azr play {run}": "give it a task, or solve one of its own", f"azr chat {run}": "talk to it"}
    commands[f"azr export {run} --dataset FOLDER"] = "its tasks and rollouts as a dataset"
    yield "go on with:"
    width = max(map(len, commands))
    yield from (f"  {command:<{width}}  {what}" for command, what in commands.items())


def _examples(run: Path) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Events of the first and of the last admitted task of each kind, without seeding; the last attempt learnt from."""
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    attempt = None
    for event in read_jsonl(run / EVENTS):
        if event["event"] == "task" and event["step"] > 0 and event["admitted"]:
            first.setdefault(event["task"]["kind"], event)
            last[event["task"]["kind"]] = event
        elif event["event"] == "advantage" and event["role"] == Role.SOLVE:
            attempt = event["id"]
    return first, last, attempt
