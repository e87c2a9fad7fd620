"""Sends a run's metrics to its trackers. Each has a thread, so none can stop or delay the run or another tracker.

RUN/trackers/NAME.json records what a tracker was sent, and is written before the line is sent. A resumed run sends what
is missing from metrics.jsonl, and repeated steps are not sent twice. (If the process is killed between the two, the
tracker lacks that line; metrics.jsonl has it.)
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from azr.config import Config, TrackersConfig
from azr.errors import UserError
from azr.run.directory import replace_text
from azr.settings import dump
from azr.train.trackers.base import About, Entry, SampleTask, Tracker, entry
from azr.train.trackers.services import TensorBoard, Trackio, WeightsAndBiases

CLOSE_SECONDS = 90.0
"""How long the end of a run waits for a tracker."""
PATIENCE_SECONDS = 3.0
"""How much of that passes before the screen says so."""


def make_trackers(config: TrackersConfig) -> dict[str, Tracker]:
    """The configured trackers by name, not opened yet.

    Raises:
        UserError: an extra is missing, or W&B has no login.
    """
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": TensorBoard,
        "wandb": lambda: WeightsAndBiases(config.wandb_mode),
        "trackio": Trackio,
    }
    trackers: dict[str, Tracker] = {}
    for name in config.use:
        try:
            trackers[name] = makers[name]()
        except ImportError as error:
            message = f"trackers.use = {name} needs the extra `{name}` ({error}): pip install 'azr[{name}]'"
            raise UserError(message) from error
    return trackers


class Feed:
    """All trackers of a run. Use as a context manager: leaving waits until they have sent everything.

    `say` shows a line to people; it is called only from the thread that calls the feed.
    """

    def __init__(self, trackers: Mapping[str, Tracker], config: Config, run: Path, say: Callable[[str], None]) -> None:
        name, project = config.trackers.name or run.name, config.trackers.project
        about = About(run, project, name, config=config.model_dump(mode="json"), toml=dump(config))
        self._workers = [_Worker(name, tracker, about) for name, tracker in trackers.items()]
        self._say = say

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.queue.put(None)
        for worker in self._workers:
            worker.wait(self._say)
        self._report_failures()

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Open the trackers, and send what they have not received of the run so far."""
        past = [entry(record) for record in history] if self._workers else []
        for worker in self._workers:
            for line in past:
                worker.queue.put(line)
            worker.thread.start()

    def send(self, record: Mapping[str, Any], tasks: Sequence[SampleTask] = ()) -> None:
        """Queue a line of metrics; returns at once."""
        line = entry(record, tasks)
        for worker in self._workers:
            worker.queue.put(line)
        self._report_failures()

    def _report_failures(self) -> None:
        for worker in self._workers:
            failure, worker.failure = worker.failure, None
            if failure is not None:
                reason = next(iter(str(failure).strip().splitlines()), "") or type(failure).__name__
                self._say(
                    f"tracker {worker.name} stopped: {reason}; the run goes on, and the tracker catches up on --resume"
                )


class _Worker:
    """One tracker and its thread."""

    def __init__(self, name: str, tracker: Tracker, about: About) -> None:
        self.name, self._tracker, self._about = name, tracker, about
        self._note = about.folder / "trackers" / f"{name}.json"
        self.queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._follow, name=f"azr-{name}", daemon=True)

    def wait(self, say: Callable[[str], None]) -> None:
        """Wait until everything is sent, or `CLOSE_SECONDS` have passed."""
        if self.thread.is_alive():
            self.thread.join(PATIENCE_SECONDS)
        if self.thread.is_alive():
            say(f"waiting for the tracker {self.name}, {CLOSE_SECONDS:.0f} s at most")
            self.thread.join(CLOSE_SECONDS)
        if self.thread.is_alive():
            self.failure = TimeoutError(f"still sending after {CLOSE_SECONDS:.0f} s")

    def _follow(self) -> None:
        try:
            note: dict[str, Any] = {"id": None, "told": {}}
            if self._note.exists():
                note = json.loads(self._note.read_text(encoding="utf-8"))
            note["id"] = self._tracker.open(replace(self._about, id=note["id"]))
            while (line := self.queue.get()) is not None:
                if line.step > note["told"].get(line.series, -1):
                    note["told"][line.series] = line.step
                    self._note.parent.mkdir(exist_ok=True)
                    replace_text(self._note, json.dumps(note))
                    self._tracker.log(line)
            self._tracker.close()
        except Exception as error:  # other people's code and networks: report it, and let the run go on
            self.failure = error
