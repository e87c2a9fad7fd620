"""Hands a run's metrics to its trackers: a thread each, so that none can stop the run, slow it, or hold up another.

What a tracker was told is noted in RUN/trackers/NAME.json, before it is told. A run that goes on begins where that ends
and catches up from metrics.jsonl: what was missed is sent, and a step that is played again is not sent twice. (A
process that is killed between the note and the send loses that line in the tracker; metrics.jsonl has it.)
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from azr.config import Config, TrackersConfig
from azr.settings import dump
from azr.train.trackers.base import About, Entry, SampleTask, Tracker, entry
from azr.train.trackers.tensorboard import TensorBoard
from azr.train.trackers.trackio import Trackio
from azr.train.trackers.wandb import WeightsAndBiases

FOLDER = "trackers"
CLOSE_SECONDS = 90.0
"""How long the end of a run waits for a tracker, and"""
PATIENCE_SECONDS = 3.0
"""how much of that passes in silence."""


def make_trackers(config: TrackersConfig) -> dict[str, Tracker]:
    """The trackers that are asked for, by name; nothing is opened yet.

    Raises:
        UserError: an extra is missing, or W&B knows no login.
    """
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": TensorBoard,
        "wandb": lambda: WeightsAndBiases(config.wandb_mode),
        "trackio": Trackio,
    }
    return {name: makers[name]() for name in config.use}


class Feed:
    """All trackers of a run. Use as a context manager: leaving waits until they have sent what they have.

    Args:
        trackers: of `make_trackers`.
        config: the run's.
        run: its folder.
        say: shows a line to people; called only from the thread that calls the feed.
    """

    def __init__(self, trackers: Mapping[str, Tracker], config: Config, run: Path, say: Callable[[str], None]) -> None:
        chosen = config.trackers
        about = About(
            run, chosen.project, chosen.name or run.name, config=config.model_dump(mode="json"), toml=dump(config)
        )
        self._lines = [_Line(name, tracker, about) for name, tracker in trackers.items()]
        self._say = say

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.end()
        for line in self._lines:
            line.wait(self._say)
        self._complain()

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Open the trackers and send what they have not been told of the run so far."""
        if self._lines:
            past = [entry(record) for record in history]
            for line in self._lines:
                line.begin(past)

    def send(self, record: Mapping[str, Any], tasks: Sequence[SampleTask] = ()) -> None:
        """Hand on a line of metrics; returns at once."""
        if self._lines:
            told = entry(record, tasks)
            for line in self._lines:
                line.send(told)
            self._complain()

    def _complain(self) -> None:
        for line in self._lines:
            if (trouble := line.trouble()) is not None:
                self._say(trouble)


class _Line:
    """One tracker, its thread, and the note of what it was told."""

    def __init__(self, name: str, tracker: Tracker, about: About) -> None:
        self._name, self._tracker, self._about = name, tracker, about
        self._note = about.folder / FOLDER / f"{name}.json"
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._failed: BaseException | None = None
        self._complained = False
        self._thread = threading.Thread(target=self._follow, name=f"azr-{name}", daemon=True)

    def begin(self, past: Iterable[Entry]) -> None:
        for told in past:
            self._queue.put(told)
        self._thread.start()

    def send(self, told: Entry) -> None:
        self._queue.put(told)

    def end(self) -> None:
        self._queue.put(None)

    def wait(self, say: Callable[[str], None]) -> None:
        """Until it has sent what it has; one that takes its time is told of, one that takes too much is left."""
        if self._thread.is_alive():
            self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            say(f"waiting for the tracker {self._name}, {CLOSE_SECONDS:.0f} s at most")
            self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._failed = TimeoutError(f"still sending after {CLOSE_SECONDS:.0f} s")

    def trouble(self) -> str | None:
        """What went wrong, once."""
        if self._failed is None or self._complained:
            return None
        self._complained = True
        reason = next(iter(str(self._failed).strip().splitlines()), "") or type(self._failed).__name__
        return f"tracker {self._name} stopped: {reason}; the run goes on, and the tracker catches up on --resume"

    def _follow(self) -> None:
        try:
            note = self._read()
            name = self._tracker.open(replace(self._about, id=note["id"]))
            note["id"] = name
            while (told := self._queue.get()) is not None:
                if told.step > note["told"].get(told.sort, -1):
                    note["told"][told.sort] = told.step
                    self._write(note)
                    self._tracker.log(told)
            self._tracker.close()
        except Exception as error:  # other people's code and networks: whatever it is, it is told, and the run goes on
            self._failed = error

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            note: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
            return note
        return {"id": None, "told": {}}

    def _write(self, note: Mapping[str, Any]) -> None:
        self._note.parent.mkdir(exist_ok=True)
        partial = self._note.with_suffix(".partial")
        partial.write_text(json.dumps(note), encoding="utf-8")
        partial.rename(self._note)
