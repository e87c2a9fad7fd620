"""`azr.Run`: what a run has written, as frames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azr.config import Config
from azr.domains import registry
from azr.evals.command import RESULTS
from azr.export.rows import ROLLOUTS, TASKS, Row, Rows
from azr.frames.tables import (
    BENCHMARKS,
    EVALUATIONS,
    benchmark_rows,
    evaluation_rows,
    frame,
    metrics_frame,
    read_results,
)
from azr.run.directory import EVENTS, METRICS, SEED, RunDirectory, read_jsonl
from azr.run.log import TOKENS, Log
from azr.selfplay.buffer import task_from_json

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """A run for reading: its configuration, and its logs as pandas frames (extra `frames`).

    The run may still be training. A frame is read when it is first used, and kept; make a new `Run` to read what was
    written since.

    Args:
        name: the run's folder, `latest`, or the beginning of its path within `runs/`, as on the command line.

    Raises:
        UserError: there is no such run. The frames raise it if a log was changed, or the extra is missing.
    """

    def __init__(self, name: str | os.PathLike[str] = "latest") -> None:
        self.path: Path = RunDirectory.open(RunDirectory.find(os.fspath(name))).path

    def __repr__(self) -> str:
        return f"azr.Run({str(self.path)!r})"

    @cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return RunDirectory.open(self.path).config()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per step: `step`, the numbers of metrics.jsonl by path, such as `learner/entropy`, and `alarms`."""
        return metrics_frame(self._metrics)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """Held-out accuracy: per evaluation one row for the mean of kinds, and one for each kind (`EVALUATIONS`)."""
        return frame(evaluation_rows(self._metrics), EVALUATIONS)

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """One row per task (`azr.export.rows.TASKS`), with the tasks that the run began with."""
        return frame(self._rows["tasks"], TASKS)

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """One row per rollout: proposals and attempts, without held-out answers (`azr.export.rows.ROLLOUTS`)."""
        return frame(self._rows["rollouts"], ROLLOUTS)

    @cached_property
    def benchmarks(self) -> pd.DataFrame:
        """What `azr eval` measured in this run's folder (`BENCHMARKS`)."""
        path = self.path / "evals" / RESULTS
        return frame(benchmark_rows(read_results(path)) if path.exists() else (), BENCHMARKS)

    @cached_property
    def _metrics(self) -> list[dict[str, Any]]:
        path = self.path / METRICS
        return list(read_jsonl(path)) if path.exists() else []

    @cached_property
    def _rows(self) -> Mapping[str, list[Row]]:
        seed = self.path / SEED
        seeds = map(task_from_json, read_jsonl(seed) if seed.is_file() else ())
        rows = Rows(registry.make_domain(self.config.domain, self.config.sandbox), self.config.seed, seeds)
        found: dict[str, list[Row]] = {"tasks": [], "rollouts": []}
        for step in rows.steps(event for _, event in Log(self.path / EVENTS, skip=TOKENS).new()):
            found["tasks"] += step.tasks
            found["rollouts"] += step.rollouts.values()
        return found
