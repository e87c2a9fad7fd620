"""Weights & Biases, by its server, or offline into RUN/wandb for `wandb sync` later."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Literal

from azr.errors import UserError
from azr.train.trackers.base import COLUMNS, About, Entry, missing

FINISH_SECONDS = 60.0
"""How long the end of a run waits for uploads. What is left stays on the disk, and `wandb sync` sends it."""
INIT_SECONDS = 60.0
"""How long the server may take to answer at first."""


class WeightsAndBiases:
    """Implements `azr.train.trackers.base.Tracker`.

    Args:
        mode: "online" or "offline"; None for what WANDB_MODE says, which is online where it says nothing.

    Raises:
        UserError: the extra is not installed, or nobody is logged in.
    """

    def __init__(self, mode: Literal["online", "offline"] | None) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb", error) from error
        self._wandb: ModuleType = wandb
        self._mode = mode or os.environ.get("WANDB_MODE", "online")
        if self._mode == "online" and not wandb.login(prompt=False, verify=False):
            raise UserError(
                "trackers.use = wandb: nobody is logged in; do so with: wandb login, set WANDB_API_KEY, or take"
                " trackers.wandb_mode=offline"
            )

    def open(self, about: About) -> str:
        """Begin, or go on with the run of that id.

        Steps are a metric of their own: W&B would refuse a held-out line whose step it has closed already.
        """
        self._run: Any = self._wandb.init(
            project=about.project,
            name=about.name,
            id=about.id,
            resume="allow",
            dir=str(about.folder),
            mode=self._mode,
            config=dict(about.config),
            # The screen belongs to azr: its live table would fill W&B's log.
            settings=self._wandb.Settings(
                console="off", quiet=True, init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS
            ),
        )
        self._run.define_metric("azr_step", hidden=True)
        self._run.define_metric("*", step_metric="azr_step")
        return str(self._run.id)

    def log(self, entry: Entry) -> None:
        """Hand on numbers, and sample tasks as a table."""
        row: dict[str, Any] = {"azr_step": entry.step, **entry.values}
        if entry.tasks:
            row["tasks"] = self._wandb.Table(columns=list(COLUMNS), data=entry.rows())
        self._run.log(row)

    def close(self) -> None:
        """Wait for uploads, for a while."""
        self._run.finish()
