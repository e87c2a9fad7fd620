"""`azr.train`: `azr train` from Python."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from azr import settings as trees
from azr.concurrency import outside_loop
from azr.config import Config
from azr.frames.run import Run
from azr.run.directory import RunDirectory
from azr.train.start import carry_out, resolve, resume_run
from azr.train.stopping import ask_thread


def train(
    source: str | os.PathLike[str] | Config = "demo",
    settings: Mapping[str, Any] | None = None,
    *,
    resume: str | os.PathLike[str] | Run | None = None,
) -> Run:
    """Train as `azr train` does, until the run has ended or is stopped; works in a notebook too.

    An interrupt (Ctrl-C, or the notebook's stop button) stops the run and saves its state; a second one stops at once.

    Args:
        source: a preset, the path of a TOML file, or a configuration.
        settings: overrides by dotted key or in sections: `{"steps": 3, "learner.lr": 1e-4}`.
        resume: a run to resume, instead of `source`. `settings` may then have what can change on resume.

    Raises:
        UserError: as `azr train` prints.
    """
    assignments = list(_assignments(settings or {}))
    if resume is not None:
        run = resume.path if isinstance(resume, Run) else RunDirectory.find(os.fspath(resume))
        outside_loop(lambda: resume_run(run, assignments), ask_thread)
        return Run(run)
    made: list[Path] = []

    def create(config: Config) -> RunDirectory:
        found = RunDirectory.create(Path(config.output_dir), _title(source), trees.dump(config))
        made.append(found.path)
        return found

    config = resolve(source if isinstance(source, Config) else os.fspath(source), assignments)
    outside_loop(lambda: carry_out(config, create, new=True), ask_thread)
    return Run(made[0])


def _title(source: str | os.PathLike[str] | Config) -> str:
    """What the run's folder is named after."""
    if isinstance(source, Config):
        return source.domain.name
    return os.fspath(source) if source in trees.presets() else Path(source).stem


def _assignments(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Settings as on the command line."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _assignments(value, f"{prefix}{key}.")
        else:
            shown = json.dumps(value, default=str, ensure_ascii=False)  # JSON's values are TOML's too; null is azr's
            yield f"{prefix}{key}={shown}"
