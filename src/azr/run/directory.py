"""The folder of a run: config.toml, seed.jsonl, events.jsonl, metrics.jsonl, checkpoints/ and, at its end, model/.

The two logs only grow. A checkpoint records their lengths, and resuming truncates them to these lengths. This removes
half-written lines, and the lines of steps that will be played again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, TextIO

from azr import settings
from azr.config import Config
from azr.domains import registry
from azr.errors import UserError

CONFIG, SEED, EVENTS, METRICS, MODEL = "config.toml", "seed.jsonl", "events.jsonl", "metrics.jsonl", "model"
PARENT = "parent.json"
LOGS = (EVENTS, METRICS)
RUNS = Path("runs")
"""Where run folders are unless output_dir says otherwise."""


class RunDirectory:
    """A run's folder, held by one process at a time.

    Use as a context manager: entering takes the lock and opens the logs, leaving closes them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs: dict[str, TextIO] = {}
        self._lock: TextIO | None = None

    @classmethod
    def create(
        cls, parent: Path, name: str, config: str, fill: Callable[[Path], None] = lambda folder: None
    ) -> RunDirectory:
        """Create a folder named after the preset and the time, with the resolved configuration in it.

        It is created under another name and renamed, so that nobody sees a run without its configuration or without
        what `fill` writes.

        Raises:
            UserError: the folder cannot be created or written.
        """
        with explained(parent):
            parent.mkdir(parents=True, exist_ok=True)
            partial = Path(mkdtemp(prefix=".partial-", dir=parent))
            partial.chmod(0o755)
            try:
                (partial / CONFIG).write_text(config, encoding="utf-8")
                fill(partial)
            except BaseException:
                rmtree(partial, ignore_errors=True)
                raise
            stamp = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
            names = chain([stamp], (f"{stamp}-{number}" for number in count(2)))
            return cls(partial.rename(next(path for each in names if not (path := parent / each).exists())))

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open the folder of an earlier run.

        Raises:
            UserError: `path` is not the folder of a run.
        """
        if not (path / CONFIG).is_file():
            raise UserError(f"{path}: no {CONFIG} there, so it is not a run; name the folder that azr train made")
        return cls(path)

    @staticmethod
    def find(text: str) -> Path:
        """The folder of a run, named by a path, as `latest`, or by the beginning of its path within `runs/`.

        What fits nothing is returned as a path, for whoever opens it to explain.

        Raises:
            UserError: several runs begin like this, or there is none yet.
        """
        if Path(text).exists():
            return Path(text)
        runs = runs_in(RUNS)
        if text == "latest":
            if not runs:
                raise UserError("latest: there is no run in runs/ yet; start one with: azr train demo")
            return runs[0]
        named = {str(run.relative_to(RUNS)): run for run in runs}
        found = sorted(name for name in named if text and name.startswith(text))
        if len(found) > 1 and text not in named:
            raise UserError(f"{text}: {len(found)} runs begin like this: {', '.join(found)}; type more of the name")
        return named.get(text, named[found[0]]) if found else Path(text)

    def held(self) -> bool:
        """Whether a process is training the run."""
        try:
            with (self.path / ".lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def changed(self) -> float:
        """When the run was last written to, in seconds since 1970."""
        return max((self.path / name).stat().st_mtime for name in (CONFIG, *LOGS) if (self.path / name).exists())

    def parent(self) -> str | None:
        """The run and step that this run was forked from, as RUN@STEP; None if it was not forked.

        Raises:
            UserError: its file cannot be read; it was changed.
        """
        path = self.path / PARENT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return f"{Path(found['run']).name}@{found['step']}"
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); it was changed, restore it") from None

    def __enter__(self) -> RunDirectory:
        with explained(self.path):
            self._lock = (self.path / ".lock").open("w")
            try:
                _take(self._lock)
            except BlockingIOError:
                self._lock.close()
                raise UserError(f"{self.path}: another process is training this run; wait for it, or stop it") from None
            try:
                for name in LOGS:
                    self._logs[name] = (self.path / name).open("a", encoding="utf-8")
            except OSError:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs.values():
            with suppress(OSError):  # a full disk was reported when the line was written; the buffer is lost anyway
                log.close()
        self._logs.clear()
        if self._lock is not None:
            self._lock.close()

    def discard_if_unused(self) -> None:
        """Delete the folder if nothing was logged or saved in it."""
        if not (self.path / "checkpoints").exists() and not any((self.path / log).stat().st_size for log in LOGS):
            shutil.rmtree(self.path)

    def tree(self) -> dict[str, Any]:
        """The resolved configuration as it was written.

        Raises:
            UserError: it cannot be read; it was changed.
        """
        return settings.read_toml(self.path / CONFIG)

    def config(self) -> Config:
        """The resolved configuration; raises as `tree` does, and if a key in it is unknown."""
        return settings.build(self.tree(), registry.config_class, source=str(self.path / CONFIG))

    def amend(self, config: str) -> None:
        """Store the configuration that the run continues with; the next resume starts from it.

        Raises:
            UserError: the disk is full or not writable; the previous configuration is kept.
        """
        with explained(self.path):
            if (self.path / CONFIG).read_text(encoding="utf-8") != config:
                replace_text(self.path / CONFIG, config)

    def write(self, log: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records to a log, one JSON line each, and flush.

        Raises:
            UserError: the disk is full or not writable; earlier lines are untouched.
        """
        with explained(self.path):
            file = self._logs[log]
            file.writelines(json.dumps(record, ensure_ascii=True) + "\n" for record in records)
            file.flush()

    def lengths(self) -> dict[str, int]:
        """Sync the logs to the disk, and return their lengths in bytes, for the checkpoint."""
        with explained(self.path):
            for log in self._logs.values():
                log.flush()
                os.fsync(log.fileno())
            return {name: (self.path / name).stat().st_size for name in LOGS}

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Truncate the logs to the lengths of a checkpoint.

        Raises:
            UserError: a log is shorter than that; it was changed.
        """
        self.check_lengths(lengths)
        with explained(self.path):
            for name, length in lengths.items():
                self._logs[name].truncate(length)
                self._logs[name].seek(length)

    def check_lengths(self, lengths: Mapping[str, int]) -> None:
        """Refuse logs that are shorter than at a checkpoint, before any of them is truncated.

        Raises:
            UserError: a log is shorter or missing; it was changed.
        """
        for name, length in lengths.items():
            path = self.path / name
            if (path.stat().st_size if path.exists() else 0) < length:
                raise UserError(f"{path}: shorter than at the checkpoint; it was changed, restore it")


def replace_text(path: Path, text: str) -> None:
    """Write a text file under another name and rename it, so that a reader sees the old text or the new.

    A symbolic link keeps pointing to its file. What is not a regular file, such as a device or a pipe, is written to.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()
    partial = path.with_name(f".partial-{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a log, oldest first. An incomplete last line (the run goes on, or was killed) is left out.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object; it was changed.
    """
    with explained(path, remedy="make it readable"), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number} cannot be read ({error}); it was changed, restore it") from None
            if not isinstance(record, dict):
                raise UserError(f"{path}: line {number} is not a JSON object; it was changed, restore it")
            yield record


@contextmanager
def explained(path: Path, *, remedy: str | None = None) -> Iterator[None]:
    """Turn a file system error about `path` into one line with what to do: `remedy`, or advice for a training run."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if "space" in reason or "quota" in reason:
            hint = "free some space" + ("" if remedy else ", then azr train --resume it")
        else:
            hint = remedy or "choose another output_dir, or make it writable"
        raise UserError(f"{re.sub(r'/+$', '', str(path))}: {reason}; {hint}") from error


def runs_in(folder: Path) -> list[Path]:
    """Folders of runs in a folder, at any depth; the one that was written to last first."""
    found: list[Path] = []
    for path, folders, files in os.walk(folder):
        if CONFIG in files:
            found.append(Path(path))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
    return sorted(found, key=lambda run: (RunDirectory(run).changed(), run.name), reverse=True)


def model_or_run(name: str) -> str:
    """Resolve a run among models. Its name must include the date, without which it may be a model on the hub.

    Raises:
        UserError: see `RunDirectory.find`.
    """
    may_be_run = name == "latest" or ("-20" in name and "://" not in name)
    return str(RunDirectory.find(name)) if may_be_run else name


def _take(lock: TextIO) -> None:
    """Lock a file. `RunDirectory.held` of another process may hold the lock for a moment, so this tries again."""
    for wait in (0.05, 0.2):
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(wait)
    return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
