"""A log read as it grows: whole lines only, each once, and nothing that is in it can stop the reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from azr.run.directory import explained

TOKENS = b'{"event": "tokens"'
"""How a line begins that holds a rollout's arrays: half of an events file, which only ledgers read."""


@dataclass(slots=True)
class Log:
    """Where the reading of a log stands.

    Attributes:
        path: of the file; it need not exist yet.
        skip: lines that begin with it are passed over unread; empty for none.
        offset: bytes that have been read, always the end of a line.
        lines: whole lines so far, those passed over included.
        unreadable: lines so far that are not a JSON object.
    """

    path: Path
    skip: bytes = b""
    offset: int = 0
    lines: int = 0
    unreadable: int = 0
    _inode: int | None = field(default=None, repr=False)

    def restarted(self) -> bool:
        """Whether the file was cut back or replaced since it was read: a run that was resumed plays steps again.

        Where it was, reading begins anew, and whatever was made of the lines so far must be thrown away.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        changed = self._inode not in (None, status.st_ino) or status.st_size < self.offset
        self._inode = status.st_ino
        if changed:
            self.offset = self.lines = self.unreadable = 0
        return changed

    def new(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What has been added since: the offset of a line and its record. A line still being written is left for later.

        Raises:
            UserError: the file cannot be read.
        """
        if not self.path.exists():
            return
        with explained(self.path, remedy="make it readable"), self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                at, self.offset = self.offset, self.offset + len(line)
                self.lines += 1
                if self.skip and line.startswith(self.skip):
                    continue
                record = parsed(line)
                if record is None:
                    self.unreadable += 1
                else:
                    yield at, record


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None where it is no JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # the standard library reads half a surrogate pair, and NaN, which is no number and counts as none
            record = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            return None
    return record if isinstance(record, dict) else None
