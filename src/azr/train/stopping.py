"""Ctrl-C and SIGTERM during a run: the first requests a stop, the second stops the run immediately."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_stops: dict[int, Callable[[], None]] = {}
"""How to ask the run in a thread other than the main one to stop, by the thread's identifier. It gets no signals."""


class Stopped(Exception):  # noqa: N818 -- not an error, but a request
    """Work was abandoned because a stop was requested."""


class Stop:
    """A request to stop the run.

    Args:
        announce: called on the first request.
    """

    def __init__(self, announce: Callable[[], None] = lambda: None) -> None:
        self._announce, self._asked, self._signalled = announce, asyncio.Event(), False

    @property
    def asked(self) -> bool:
        """Whether a stop was requested; may be read from any thread."""
        return self._asked.is_set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Treat Ctrl-C and SIGTERM as requests; schedulers send SIGTERM before they preempt a machine.

        Only the main thread gets signals. For another one, `ask_thread` passes them on.
        """
        if threading.current_thread() is not threading.main_thread():
            with self._on_request():
                yield
            return
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._ask)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    @contextmanager
    def _on_request(self) -> Iterator[None]:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def ask() -> None:
            loop.call_soon_threadsafe(self.ask)

        _stops[thread] = ask
        try:
            yield
        finally:
            _stops.pop(thread, None)

    async def unless(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await the work, or cancel it as soon as a stop is requested.

        Raises:
            Stopped: a stop was requested, now or before.
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

    def ask(self) -> None:
        """Request a stop, unless one was requested before."""
        if not self.asked:
            self._asked.set()
            self._announce()

    def _ask(self) -> None:
        """Treat a signal. Only a second signal counts as a second request: several ranks may pass on the first."""
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
        self.ask()


def ask_thread(thread: int) -> bool:
    """Ask the run in a thread to stop; returns false if there is none, or if it was asked before."""
    ask = _stops.pop(thread, None)
    if ask is not None:
        ask()
    return ask is not None
