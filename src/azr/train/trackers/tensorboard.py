"""TensorBoard: event files in RUN/tensorboard; see them with `tensorboard --logdir RUN`, or the folder of many."""

from __future__ import annotations

from typing import Any

from azr.train.trackers.base import About, Entry, missing, verbatim

FOLDER = "tensorboard"


class TensorBoard:
    """Implements `azr.train.trackers.base.Tracker`.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing("tensorboard", error) from error
        self._make: Any = SummaryWriter

    def open(self, about: About) -> str:
        """Begin an event file; TensorBoard reads all that lie in one folder as one run."""
        folder = about.folder / FOLDER
        self._writer = self._make(str(folder))
        if about.id is None:
            self._writer.add_text("config", verbatim(about.toml), 0)
        return FOLDER

    def log(self, entry: Entry) -> None:
        """Write numbers, and sample tasks as text."""
        for path, value in entry.values.items():
            self._writer.add_scalar(path, value, entry.step)
        for number, task in enumerate(entry.tasks):
            about = f"solve rate {task.solve_rate}, reward {task.reward}\n\n{verbatim(task.task)}"
            self._writer.add_text(f"tasks/{number}_{task.kind}", about, entry.step)
        self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        self._writer.close()
