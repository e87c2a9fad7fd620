"""Checkpoints. They are written under a temporary name, then renamed, so a checkpoint is either complete or absent.

checkpoints/000010/ model/ (weights), optimizer.pt, buffer.jsonl, state.json
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from azr.errors import UserError
from azr.run.directory import CONFIG, EVENTS, RunDirectory, explained, read_jsonl

STATE, BUFFER = "state.json", "buffer.jsonl"
PARTIAL, REPLACED = ".partial-", ".replaced-"
"""How the name of a folder begins that is being written or deleted, and of one whose successor gets its name."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a run, besides weights, optimizer and buffers."""

    step: int  # completed steps
    lengths: Mapping[str, int]  # of each log, in bytes
    failed_steps: int = 0  # consecutive steps without a valid proposal
    seconds: float = 0.0  # training time over all processes of the run
    before: Mapping[str, Any] = field(default_factory=dict)
    """Held-out accuracy of the untrained model, as in metrics.jsonl."""
    evaluated: int = 0  # the last step after which held-out accuracy was measured
    seeding: Mapping[str, Mapping[str, int]] | None = None
    """Counts of verdicts by kind while the buffers are seeded, then None.

    A checkpoint from that time has no model, because it is still the untrained one.
    """


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Path, *, keep: int) -> None:
        self._folder, self._keep = run / "checkpoints", keep

    def newest(self) -> Path | None:
        """Folder of the newest complete checkpoint; None if there is none yet."""
        return next(reversed(self._complete()), None)

    def at(self, step: int | None) -> Path:
        """Folder of the complete checkpoint after a step, or of the newest.

        Raises:
            UserError: there is none.
        """
        found = {step_of(path): path for path in self._complete()}
        if not found or (step is not None and step not in found):
            there = f"there are {', '.join(map(str, found))}; checkpoint.keep decides how many are kept"
            which = "" if step is None else f" after step {step}"
            raise UserError(f"{self._folder}: no checkpoint{which}" + (f"; {there}" if found else ""))
        return found[max(found) if step is None else step]

    def save(self, state: State, buffer: Iterable[str], save_learner: Callable[[Path], None]) -> Path:
        """Write a checkpoint, then delete all but the newest `keep`.

        Raises:
            UserError: the disk is full or not writable; the earlier checkpoints are untouched.
        """
        final, partial, replaced = (self._folder / f"{mark}{state.step:06d}" for mark in ("", PARTIAL, REPLACED))
        with explained(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._clear()
            partial.mkdir()
            save_learner(partial)
            (partial / BUFFER).write_text("".join(f"{line}\n" for line in buffer), encoding="utf-8")
            (partial / STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
            for path in (*partial.rglob("*"), partial):  # the rename must not reach the disk before the contents
                _sync(path)
            if final.exists():  # of the same step: seeding saves one after every batch
                final.rename(replaced)
            partial.rename(final)
            _sync(self._folder)
            for old in self._complete()[: -self._keep]:
                _remove(old)
            self._clear()
        return final

    def _complete(self) -> list[Path]:
        """Complete checkpoints, sorted by step as a number: as text, 1000000 would come before 999999.

        A replaced one counts if a process was killed before the new one had its name.
        """
        paths = (*self._folder.glob(f"{REPLACED}[0-9]*"), *self._folder.glob("[0-9]*"))
        named = (path for path in paths if path.name.removeprefix(REPLACED).isdecimal())
        found = {step_of(path): path for path in named if (path / STATE).is_file()}
        return [found[step] for step in sorted(found)]

    def _clear(self) -> None:
        """Delete what is not a checkpoint: half-written ones, and those that were replaced by a complete one."""
        for partial in self._folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(partial)
        for replaced in self._folder.glob(f"{REPLACED}*"):
            if replaced not in self._complete():
                _remove(replaced)


_STATE = TypeAdapter(State)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, by the name of its folder."""
    return int(checkpoint.name.removeprefix(REPLACED))


def check_resumable(run: Path) -> None:
    """Refuse a run whose logs are shorter than at its newest checkpoint, or that has logs but no checkpoint.

    A run that ended during its first evaluation, before its first checkpoint, starts again: it repeats these lines.

    Raises:
        UserError: the run's checkpoints were removed, its newest one has no readable state, or a log was changed.
    """
    newest = Checkpoints(run, keep=1).newest()
    if newest is not None:
        RunDirectory(run).check_lengths(read_state(newest).lengths)
        return
    if not (run / EVENTS).is_file():
        return
    if any(record.get("event") != "held_out" for record in read_jsonl(run / EVENTS)):
        raise UserError(
            f"{run}: its logs have steps, but checkpoints/ holds no complete checkpoint to go on from, and resuming"
            f" would erase them; restore one; to start afresh: azr train {run / CONFIG}"
        )


def read_state(checkpoint: Path) -> State:
    """The state in a checkpoint.

    Raises:
        UserError: it cannot be read; it was changed.
    """
    with reading(checkpoint, STATE):
        found = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        try:
            return _STATE.validate_python(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def read_buffer(checkpoint: Path) -> list[str]:
    """Lines for `TaskBuffer.load`.

    Raises:
        UserError: they cannot be read; they were changed.
    """
    with reading(checkpoint, BUFFER):
        lines = (checkpoint / BUFFER).read_text(encoding="utf-8").splitlines()
        for line in lines:
            json.loads(line)
        return lines


@contextmanager
def reading(checkpoint: Path, file: str) -> Iterator[None]:
    """Turn an error in a checkpoint's file, or in what is made of its contents, into one line with what to do."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{checkpoint / file}: cannot be read ({error}); {advice(checkpoint)}") from None


def advice(checkpoint: Path) -> str:
    """What to do about a checkpoint that cannot be read, as part of an error message."""
    run = checkpoint.parent.parent
    older = [path.name for path in Checkpoints(run, keep=1)._complete() if step_of(path) < step_of(checkpoint)]
    if not older:
        return f"it was changed: restore it; to start afresh: azr train {run / CONFIG}"
    return f"it was changed: restore it, or remove {checkpoint} to go on from the checkpoint before, {older[-1]}"


def _remove(checkpoint: Path) -> None:
    """Rename first: a half-deleted checkpoint must not look complete."""
    doomed = checkpoint.with_name(f"{PARTIAL}{checkpoint.name}-old")
    checkpoint.rename(doomed)
    shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
