"""What there is to say of a run in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from azr.errors import UserError
from azr.run.checkpoint import Checkpoints, read_state
from azr.run.directory import METRICS, MODEL, SEED, RunDirectory, read_jsonl, runs_in

RunState = Literal["seeding", "running", "stopped", "finished", "unreadable"]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in one line.

    Attributes:
        path: its folder.
        state: what it is doing. A run that is neither being trained nor finished is stopped.
        steps, planned: training steps done, and in all.
        gain: held-out accuracy at the last evaluation less that of the untrained model; None before the second one.
        parent: the run and step that it was forked from, as RUN@STEP.
        changed: when it was last written to, in seconds since 1970.
    """

    path: Path
    state: RunState
    steps: int
    planned: int
    gain: float | None
    parent: str | None
    changed: float


def summaries(folder: Path) -> list[Summary]:
    """All runs in a folder, the one that was written to last first."""
    return [summary(path) for path in runs_in(folder)]


def summary(path: Path) -> Summary:
    """One run; if its files cannot be read, its state is unreadable."""
    run = RunDirectory(path)
    try:
        tree, parent = run.tree(), run.parent()
        records = list(read_jsonl(path / METRICS)) if (path / METRICS).is_file() else []
        steps = max((record["step"] for record in records if "kinds" in record), default=0)
        planned = int(tree["steps"])
        return Summary(path, _state(run, tree, steps, planned), steps, planned, gain(records), parent, run.changed())
    except (UserError, LookupError, TypeError, ValueError):
        return Summary(path, "unreadable", 0, 0, None, None, run.changed())


def gain(records: Iterable[Mapping[str, Any]]) -> float | None:
    """Gain in held-out accuracy from the first evaluation in metrics.jsonl to the last; None if there is only one."""
    measured = [record["held_out"]["mean"]["accuracy"] for record in records if "held_out" in record]
    return measured[-1] - measured[0] if len(measured) > 1 else None


def _state(run: RunDirectory, tree: Mapping[str, Any], steps: int, planned: int) -> RunState:
    if run.held():
        return "running" if (run.path / SEED).is_file() else "seeding"
    if not tree.get("selfplay", {}).get("learn", True):
        saved = Checkpoints(run.path, keep=1).newest()
        return "finished" if saved is not None and read_state(saved).step >= planned else "stopped"
    # The card is the last file that a run writes.
    return "finished" if steps >= planned and (run.path / MODEL / "README.md").is_file() else "stopped"
