"""Checkpoints: written beside the others under a temporary name, then renamed, so that one either stands whole or not.

checkpoints/000010/ model/ (weights), optimizer.pt, buffer.jsonl, state.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from azr.errors import UserError
from azr.run.directory import explained

STATE, BUFFER = "state.json", "buffer.jsonl"


@dataclass(frozen=True, slots=True)
class State:
    """What a run is, besides weights, optimizer and buffers.

    Attributes:
        step: steps done.
        lengths: bytes of each log.
        failed_steps: steps in a row without a valid proposal.
        seconds: training time so far, over all its processes.
        before: held-out accuracy of the untrained model, as its metrics line has it.
        evaluated: the last step after which held-out accuracy was measured.
        seeding: while buffers are seeded, how often each verdict was given, by kind; None once they are. Such a
            checkpoint has no model: it is still the untrained one.
    """

    step: int
    lengths: Mapping[str, int]
    failed_steps: int = 0
    seconds: float = 0.0
    before: Mapping[str, Any] = field(default_factory=dict)
    evaluated: int = 0
    seeding: Mapping[str, Mapping[str, int]] | None = None


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Path, *, keep: int) -> None:
        self._folder, self._keep = run / "checkpoints", keep

    def newest(self) -> Path | None:
        """Folder of the newest whole checkpoint, or None where there is none yet."""
        return next(reversed(self._whole()), None)

    def save(self, state: State, buffer: Iterable[str], save_learner: Callable[[Path], None]) -> Path:
        """Write a checkpoint, then drop those beyond the newest `keep`.

        Raises:
            UserError: the disk is full or not writable; the checkpoints before stand as they were.
        """
        final = self._folder / f"{state.step:06d}"
        partial = self._folder / f".partial-{state.step:06d}"
        with explained(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._remove_partial()
            partial.mkdir()
            save_learner(partial)
            (partial / BUFFER).write_text("".join(f"{line}\n" for line in buffer), encoding="utf-8")
            (partial / STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
            _sync(partial)
            if final.exists():  # played again after a resume from an older one
                self._remove(final)
            partial.rename(final)
            _sync_one(self._folder)
            for old in self._whole()[: -self._keep]:
                self._remove(old)
        return final

    def _whole(self) -> list[Path]:
        """All that are whole, by their steps as numbers: as text, 1000000 would come before 999999."""
        found = (path for path in self._folder.glob("[0-9]*") if path.name.isdecimal() and (path / STATE).is_file())
        return sorted(found, key=lambda path: int(path.name))

    def _remove(self, checkpoint: Path) -> None:
        """Rename first: a checkpoint that is half deleted must not look whole."""
        doomed = checkpoint.with_name(f".partial-{checkpoint.name}-old")
        checkpoint.rename(doomed)
        shutil.rmtree(doomed)

    def _remove_partial(self) -> None:
        for path in self._folder.glob(".partial-*"):
            shutil.rmtree(path)


def read_state(checkpoint: Path) -> State:
    """The state that a checkpoint holds.

    Raises:
        UserError: it cannot be read: somebody changed it.
    """
    with _whole_or_told(checkpoint, STATE):
        return State(**json.loads((checkpoint / STATE).read_text(encoding="utf-8")))


def read_buffer(checkpoint: Path) -> list[str]:
    """Lines for `TaskBuffer.load`.

    Raises:
        UserError: they cannot be read: somebody changed them.
    """
    with _whole_or_told(checkpoint, BUFFER):
        lines = (checkpoint / BUFFER).read_text(encoding="utf-8").splitlines()
        for line in lines:
            json.loads(line)
        return lines


@contextmanager
def _whole_or_told(checkpoint: Path, file: str) -> Iterator[None]:
    """Turn what is wrong with a checkpoint's file into one line that says what to do."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{checkpoint / file}: cannot be read ({error}); it was changed: restore it, or remove {checkpoint} to go"
            " on from the checkpoint before"
        ) from None


def _sync(folder: Path) -> None:
    """Put a folder and all within on the disk itself, so that the rename cannot overtake the contents."""
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
