"""Trackio: a database on this machine (`trackio show`), or a Space of the Hugging Face hub by TRACKIO_SPACE_ID."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

from azr.train.trackers.base import COLUMNS, About, Entry, missing, verbatim


class Trackio:
    """Implements `azr.train.trackers.base.Tracker`.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import trackio
        except ImportError as error:
            raise missing("trackio", error) from error
        self._trackio: ModuleType = trackio

    def open(self, about: About) -> str:
        """Begin, or go on with the run of that name, which Trackio knows runs by."""
        name = about.id or about.name
        self._run: Any = self._trackio.init(
            project=about.project, name=name, config=dict(about.config), resume="allow", embed=False
        )
        return name

    def log(self, entry: Entry) -> None:
        """Hand on numbers, and sample tasks as a table."""
        row: dict[str, Any] = dict(entry.values)
        if entry.tasks:
            tasks = [replace(task, task=verbatim(task.task)) for task in entry.tasks]  # cells are read as Markdown
            row["tasks"] = self._trackio.Table(columns=list(COLUMNS), data=replace(entry, tasks=tasks).rows())
        self._run.log(row, step=entry.step)

    def close(self) -> None:
        """Send what waits."""
        self._run.finish()
