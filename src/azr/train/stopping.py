"""Ctrl-C and SIGTERM while a run goes on: the first asks it to stop, the second stops it at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Stopped(Exception):  # noqa: N818 -- no error: somebody asked for it
    """Work was abandoned since the run was asked to stop."""


class Stop:
    """Whether a run was asked to stop.

    Args:
        announce: called when it is.
    """

    def __init__(self, announce: Callable[[], None] = lambda: None) -> None:
        self._announce, self._asked = announce, asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether somebody asked; may be read from any thread."""
        return self._asked.is_set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take Ctrl-C, and SIGTERM, which a preempted machine gets, as requests."""
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._ask)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def unless(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do the work, or cancel it as soon as somebody asks to stop.

        Raises:
            Stopped: somebody did, now or before.
        """
        if self.asked:
            work.close()
            raise Stopped
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            for one in (task, asked):
                one.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)
        raise Stopped

    def _ask(self) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self._asked.set()
        self._announce()
