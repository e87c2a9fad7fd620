"""Long work in its own thread, so that the event loop can still deliver signals."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import torch

from azr.learn.base import UpdateStopped

Check: TypeAlias = Callable[[], None]
"""Called wherever work can end early; raises `UpdateStopped` if it should."""

_Result = TypeVar("_Result")


class Background:
    """A thread that does one piece of work after another."""

    def __init__(self) -> None:
        # A new thread uses the number of threads that torch was given only after it has asked for that number.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="azr-learner", initializer=torch.get_num_threads)

    async def run(self, work: Callable[[Check], _Result]) -> _Result:
        """Do the work in the thread; the check that it gets ends it if the caller is cancelled."""
        cancelled, loop = threading.Event(), asyncio.get_running_loop()
        check = check_also(nothing, cancelled.is_set)
        try:
            return await loop.run_in_executor(self._thread, work, check)
        except asyncio.CancelledError:
            cancelled.set()
            raise


def check_also(check: Check, asked: Callable[[], bool]) -> Check:
    """A check that also raises once `asked` returns True."""

    def both() -> None:
        check()
        if asked():
            raise UpdateStopped

    return both


def nothing() -> None:
    """The check that never ends the work."""
