"""The standard streams of a command: what is done if one of them is closed, full, or no longer read."""

import os
import sys
import tempfile
import traceback
from importlib.metadata import entry_points
from io import TextIOWrapper
from typing import IO

from azr.errors import UserError


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
    points = [
        point for group in entry_points().groups if group.startswith("azr.") for point in entry_points(group=group)
    ]
    roots = {point.module.partition(".")[0]: point for point in points if not point.module.startswith("azr.")}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [frame for frame in frames if str(frame.f_globals.get("__name__")).partition(".")[0] in roots]
    if not found:
        raise error
    point = roots[found[0].f_globals["__name__"].partition(".")[0]]
    file, path = tempfile.mkstemp(prefix="azr-traceback-", suffix=".txt")
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(traceback.format_exception(error))
    what, where = f"{type(error).__name__}: {error}", f"{point.group.removeprefix('azr.')[:-1]} {point.name}"
    return _refuse(f"{where}: {found[0].f_code.co_qualname} raised {what}; its author can mend it with {path}")


def _refuse(message: str) -> int:
    print(f"azr: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
