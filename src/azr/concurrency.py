"""Running many stories at once, and on how many cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


SMALL = 5_000_000
"""Parameters of a model that computes on one thread: the demo's, of 0.9 million, is as fast with one as with two where
nothing else runs, and 30 times slower with two where something does (docs/performance.md)."""


def threads(parameters: int) -> int:
    """Threads for a model's arithmetic on a CPU.

    OMP_NUM_THREADS if that is a number, one for a small model, else one a core that this process may use.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if parameters < SMALL:
        return 1
    # A Mac knows only how many cores there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once; results in the order given.

    Raises:
        Exception: the first failure itself, after the others were cancelled; never an exception group, so that whoever
            waits for a `UserError` sees it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None
    return [task.result() for task in tasks]
