"""Reading a log while it grows: complete lines only, each once. Unreadable lines are counted and skipped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from azr.run.directory import explained

TOKENS = b'{"event": "tokens"'
"""Start of a line with a rollout's arrays. They are half of an events file, and only ledgers read them."""


@dataclass(slots=True)
class Log:
    """A reader of one log."""

    path: Path  # of the file; it need not exist yet
    skip: bytes = b""  # lines that start with it are not parsed; empty for none
    containing: bytes = b""  # lines without it are not parsed
    offset: int = 0  # bytes that have been read, always the end of a line
    unreadable: int = 0  # lines so far that are not a JSON object
    _inode: int | None = field(default=None, repr=False)

    def restarted(self) -> bool:
        """Whether the file was truncated or replaced since it was read, as when a resumed run repeats steps.

        If so, reading starts again, and the caller must discard the results of all lines so far.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        changed = self._inode not in (None, status.st_ino) or status.st_size < self.offset
        self._inode = status.st_ino
        if changed:
            self.offset = self.unreadable = 0
        return changed

    def new(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Offset and record of each line that was added since. An incomplete last line is left for the next call.

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
                if (self.skip and line.startswith(self.skip)) or self.containing not in line:
                    continue
                record = _parsed(line)
                if record is None:
                    self.unreadable += 1
                else:
                    yield at, record


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None if it is not a JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # the standard library reads half a surrogate pair, and NaN, which becomes None
            record = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            return None
    return record if isinstance(record, dict) else None
