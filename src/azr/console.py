"""The standard streams of a command: what is done if one of them is closed, full, or no longer read."""

import os
import sys
import tempfile
import traceback
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper
from types import FrameType
from typing import IO

from azr.errors import UserError
from azr.plugins import NOUNS


def prepare_streams() -> None:
    """Open /dev/null in place of closed streams, whose numbers the next files, such as a run's logs, would get.

    What the terminal's encoding lacks is escaped.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 -- open as long as the process
    if closed:
        sys.exit(_refuse("standard output is closed; redirect it to a file or to /dev/null"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def can_redraw(file: IO[str]) -> bool:
    """Whether text that was written can be drawn over: on a terminal, but not in the output of a notebook's cell.

    Rich's `is_terminal` is also true with FORCE_COLOR, which notebooks and CI set for the sake of colours. A notebook
    runs commands on a pseudo-terminal and keeps every redraw in the cell.
    """
    return file.isatty() and os.environ.get("TERM") != "dumb" and "JPY_PARENT_PID" not in os.environ


def explain_failure(error: Exception) -> int:
    """Print why the command failed, in one line; returns the exit code. An error that no user can mend is raised."""
    try:
        if isinstance(error, OSError):
            sys.stdout.write("\n")  # if it was standard output that failed, it fails again
        sys.stdout.flush()
    except OSError as failure:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at its exit
        if isinstance(failure, BrokenPipeError):  # the reader, such as head, has seen enough
            return 1
        reason = (failure.strerror or str(failure)).lower()
        return _refuse(f"standard output: {reason}; free some space, or redirect it elsewhere")
    if isinstance(error, UserError):
        return _refuse(str(error))
    return _explain_plugin(error)


def _explain_plugin(error: Exception) -> int:
    """Print which plug-in raised an error, in one line, with its traceback in a file; other errors are raised."""
    points = [point for group in NOUNS for point in entry_points(group=group) if not point.module.startswith("azr.")]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [(frame, near) for frame in frames if (near := [point for point in points if _nearness(point, frame)])]
    if not found:
        raise error
    frame, near = found[0]
    point = max(near, key=lambda point: _nearness(point, frame))
    file, path = tempfile.mkstemp(prefix="azr-traceback-", suffix=".txt")
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(traceback.format_exception(error))
    what, where = f"{type(error).__name__}: {error}", f"{NOUNS[point.group]} {point.name}"
    return _refuse(f"{where}: {frame.f_code.co_qualname} raised {what}; its author can mend it with {path}")


def _nearness(point: EntryPoint, frame: FrameType) -> int:
    """3 if the entry point's class runs in the frame, 2 if its module does, 1 if its package does, else 0."""
    module = str(frame.f_globals.get("__name__"))
    if module != point.module:
        return int(module.partition(".")[0] == point.module.partition(".")[0])
    return 3 if frame.f_code.co_qualname.startswith(f"{point.attr}.") else 2


def _refuse(message: str) -> int:
    print(f"azr: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
