"""Calling a program's code, and recording the result."""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]
"""One outcome as plain data: `value`, `reason`, `error`, `detail`, as in `azr.sandbox.base.Outcome`."""

_NO_KEYWORDS: dict[str, object] = {}
TO_MODULE, TO_CALL = 2, 1
"""Frames between this module's own and a program's, C calls included, less those that a script would have. Measured;
the interpreter counts one more for a C call that it has not seen often."""


def failure(reason: str, detail: str = "", error: str | None = None) -> Record:
    """Make the record of an input that has no value."""
    return {"value": None, "reason": reason, "error": error, "detail": detail}


def success(value: str) -> Record:
    """Make the record of a value."""
    return {"value": value, "reason": None, "error": None, "detail": ""}


def run_module(code: types.CodeType, module: types.ModuleType, *, exits: bool = False) -> None:
    """Run a program as a module in `sys.modules`, as dataclasses and pickle expect.

    With `exits`, a SystemExit without an error is a normal end.
    """
    sys.modules[module.__name__] = module
    module.__dict__["__builtins__"] = builtins
    try:
        exec(code, module.__dict__)
    except SystemExit as error:
        if not exits or error.code not in (None, 0):
            raise


def tried(
    frames: int,
    function: Callable[..., object],
    arguments: Sequence[object],
    keywords: Mapping[str, object] = _NO_KEYWORDS,
) -> tuple[Record | None, object]:
    """Call a function, not a closure, as making one costs a child two more pages.

    Meanwhile the recursion limit is raised by `frames`: how many more frames lie below the program than if it were a
    script. Returns how the call failed, or None; and what it returned.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + frames)
    try:
        return None, function(*arguments, **keywords)
    except MemoryError:
        return failure("memory", "MemoryError"), None
    except BaseException as error:
        return failure("error", describe(error), class_name(error)), None
    finally:
        sys.setrecursionlimit(limit)


def frames_below() -> int:
    """Count the caller and the frames below it."""
    frame: types.FrameType | None = sys._getframe()
    count = -1
    while frame is not None:
        count, frame = count + 1, frame.f_back
    return count


def class_name(error: BaseException) -> str:
    """Return the name of an exception's class, whatever its metaclass says; two quotes if it is empty."""
    return printable(type.__dict__["__name__"].__get__(type(error)), 100) or "''"


def describe(error: BaseException) -> str:
    """Return an exception's message as one line of at most 200 characters; empty if it cannot be read."""
    try:
        # A text of the builtin class, whatever `__str__` gave, and cut before it is worked on: it may be huge.
        message = str.__str__(str(error))[:2000]
    except BaseException:
        return ""
    return printable(" ".join(message.split()), 200)


def printable(text: str, length: int) -> str:
    """Cut `text` to a length and escape what cannot be printed."""
    text = str.__str__(text)[:length]
    return text if text.isprintable() else ascii(text)[1:-1][:length]
