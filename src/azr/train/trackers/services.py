"""The supported trackers. Each imports its library when it is created, which raises ImportError if it is missing."""

import os
from dataclasses import replace
from typing import Any, Literal

from azr.errors import UserError
from azr.train.trackers.base import COLUMNS, About, Entry, verbatim

FINISH_SECONDS = 60.0
"""How long W&B waits for uploads when a run ends. `wandb sync` sends what is left."""
INIT_SECONDS = 60.0
"""How long W&B waits for the first answer of its server."""


class TensorBoard:
    """Event files in RUN/tensorboard. TensorBoard reads all files in one folder as one run."""

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make: Any = SummaryWriter

    def open(self, about: About) -> str:
        self._writer = self._make(str(about.folder / "tensorboard"))
        if about.id is None:
            self._writer.add_text("config", verbatim(about.toml), 0)
        return "tensorboard"

    def log(self, entry: Entry) -> None:
        for path, value in entry.values.items():
            self._writer.add_scalar(path, value, entry.step)
        for number, task in enumerate(entry.tasks):
            about = f"solve rate {task.solve_rate}, reward {task.reward}\n\n{verbatim(task.task)}"
            self._writer.add_text(f"tasks/{number}_{task.kind}", about, entry.step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Weights & Biases: its server, or RUN/wandb for `wandb sync`; mode None is that of WANDB_MODE, else "online".

    Raises:
        UserError: not logged in.
    """

    def __init__(self, mode: Literal["online", "offline"] | None) -> None:
        import wandb

        self._wandb: Any = wandb
        self._mode = mode or os.environ.get("WANDB_MODE", "online")
        if self._mode == "online" and not wandb.login(prompt=False, verify=False):
            raise UserError(
                "trackers.use = wandb: not logged in; run wandb login, set WANDB_API_KEY, or use"
                " trackers.wandb_mode=offline"
            )

    def open(self, about: About) -> str:
        """Start or continue a run.

        The step is a metric of its own: W&B would refuse a held-out line for a step that it has already closed.
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
        row: dict[str, Any] = {"azr_step": entry.step, **entry.values}
        if entry.tasks:
            row["tasks"] = self._wandb.Table(columns=COLUMNS, data=entry.rows())
        self._run.log(row)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio: a database on this machine, or a Hugging Face Space named by TRACKIO_SPACE_ID."""

    def __init__(self) -> None:
        import trackio

        self._trackio: Any = trackio

    def open(self, about: About) -> str:
        """Start a run, or continue it; Trackio identifies runs by name."""
        name = about.id or about.name
        self._run: Any = self._trackio.init(
            project=about.project, name=name, config=dict(about.config), resume="allow", embed=False
        )
        return name

    def log(self, entry: Entry) -> None:
        row: dict[str, Any] = dict(entry.values)
        if entry.tasks:
            tasks = [replace(task, task=verbatim(task.task)) for task in entry.tasks]  # cells are read as Markdown
            row["tasks"] = self._trackio.Table(columns=COLUMNS, data=replace(entry, tasks=tasks).rows())
        self._run.log(row, step=entry.step)

    def close(self) -> None:
        self._run.finish()
