"""The task buffer in SQLite, for the processes of a trainer that play at the same time."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from azr.config import BufferConfig
from azr.errors import UserError
from azr.selfplay.buffer import TaskBuffer, task_from_json
from azr.types import Kind, Task

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (number INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS episodes (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL);
"""
BUSY_SECONDS = 60
"""How long a process waits for another to finish writing."""


class StoredBuffer(TaskBuffer):
    """A task buffer whose tasks are also rows of a file; `refresh` reads what other processes have added.

    Raises:
        UserError: the file is not a database, or cannot be opened.
    """

    def __init__(self, path: Path, kinds: Iterable[Kind], config: BufferConfig) -> None:
        super().__init__(kinds, config)
        self._read = 0
        try:
            self._rows = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._rows.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise UserError(f"{path}: cannot be used as the task buffer: {error}") from error
        self.refresh()

    def begin(self, kind: Kind) -> int:
        """The number of a new episode, which no other process gets."""
        number = self._rows.execute("INSERT INTO episodes (kind) VALUES (?)", (kind,)).lastrowid
        assert number is not None
        return number

    def refresh(self) -> None:
        """Add the tasks that were stored since the last call."""
        query = "SELECT number, task, answer FROM tasks WHERE number > ? ORDER BY number"
        for number, text, answer in self._rows.execute(query, (self._read,)).fetchall():
            task = task_from_json(json.loads(text))
            if task.kind in self._tasks:
                super().add(task, step=task.born, answer=answer)
            self._read = number

    def add(self, task: Task, *, step: int, answer: str = "") -> Task | None:
        """Add a task and store it, unless this or another process has added its like before (see `TaskBuffer.add`)."""
        with self._alone():
            self.refresh()
            stamped = super().add(task, step=step, answer=answer)
            if stamped is not None:
                row = (json.dumps(asdict(stamped)), answer)
                self._read = self._rows.execute("INSERT INTO tasks (task, answer) VALUES (?, ?)", row).lastrowid or 0
        return stamped

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A transaction during which no other process writes."""
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")
