"""Work that takes its time, in a thread of its own, so that the event loop goes on delivering signals."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import torch

from azr.learn.base import UpdateStopped

Check: TypeAlias = Callable[[], None]
"""Called where work may end early; raises `UpdateStopped` where it is to."""

_Result = TypeVar("_Result")


class Background:
    """One thread, which does one thing after the other."""

    def __init__(self) -> None:
        # A new thread computes with as many threads as torch was told to only once it has asked for their number.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="azr-learner", initializer=torch.get_num_threads)

    async def run(self, work: Callable[[Check], _Result]) -> _Result:
        """Do the work in the thread. The check that it gets ends it once the caller was cancelled."""
        cancelled, loop = threading.Event(), asyncio.get_running_loop()
        check = check_also(_nothing, cancelled.is_set)
        try:
            return await loop.run_in_executor(self._thread, work, check)
        except asyncio.CancelledError:
            cancelled.set()
            raise


def check_also(check: Check, asked: Callable[[], bool]) -> Check:
    """A check that raises once `asked` says so, too."""

    def both() -> None:
        check()
        if asked():
            raise UpdateStopped

    return both


def _nothing() -> None:
    """Nobody asks for an end."""
