"""Running many coroutines concurrently."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Crew:
    """All coroutines that an outermost `gather` runs, including those of nested gathers.

    An engine that decodes in batches asks the crew whether all members are waiting, and is called when a member ends.

    Attributes:
        members: coroutines that have not ended.
        watchers: called each time a member ends, or waits at a latch.
    """

    def __init__(self) -> None:
        self.members: set[Member] = set()
        self.watchers: set[Callable[[], None]] = set()

    def waits(self) -> bool:
        """Whether all members wait for the engine, and none is busy elsewhere, such as in the sandbox."""
        return all(member.waits for member in self.members)

    def leave(self, member: Member) -> None:
        """Remove a member that has ended."""
        self.members.discard(member)
        if member.outer is not None:
            member.outer.inner -= 1
        self.tell()

    def tell(self) -> None:
        """Call the watchers."""
        for watcher in tuple(self.watchers):
            watcher()


@dataclass(slots=True, eq=False)
class Member:
    """One coroutine of a crew.

    Attributes:
        crew: its crew.
        outer: the member whose gather it belongs to; None in the outermost.
        answers: results that it has requested from an engine.
        inner: number of members of its own gathers that have not ended, which count instead of it. Once the last one
            has ended it is busy, although it goes on only in the next turn of the event loop.
    """

    crew: Crew
    outer: Member | None = None
    answers: set[asyncio.Future[Any]] = field(default_factory=set)
    inner: int = 0

    @property
    def waits(self) -> bool:
        """Whether it waits for an engine, or for its own nested members."""
        return self.inner > 0 or any(not answer.done() for answer in self.answers)


class Latch:
    """Lets coroutines wait until an event has happened a given number of times.

    A member of a crew that waits here counts as waiting for the engine: what it waits for needs the engine itself.

    Args:
        count: number of times.
    """

    def __init__(self, count: int) -> None:
        self._missing = count
        self._waiting: list[asyncio.Future[None]] = []

    def arrive(self) -> None:
        """Count one event; the last one wakes all that wait."""
        self._missing -= 1
        if self._missing == 0:
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)

    async def wait(self) -> None:
        """Return when all events have happened."""
        if self._missing <= 0:
            return
        member, future = current_member(), asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if member is not None:
            member.answers.add(future)
            member.crew.tell()
        try:
            await future
        finally:
            if member is not None:
                member.answers.discard(future)


_member: ContextVar[Member | None] = ContextVar("azr_member", default=None)


def current_member() -> Member | None:
    """The member that is running now; None outside `gather`."""
    return _member.get()


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently, as members of one crew; results come in the order given.

    Raises:
        Exception: the first failure itself, after the others were cancelled; never an exception group, so that callers
            can catch a `UserError`.
    """
    outer = current_member()
    crew = Crew() if outer is None else outer.crew
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [_start(group, coroutine, Member(crew, outer)) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None
    return [task.result() for task in tasks]


def _start(group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, T], member: Member) -> asyncio.Task[T]:
    context = copy_context()
    context.run(_member.set, member)
    member.crew.members.add(member)
    if member.outer is not None:
        member.outer.inner += 1
    task = group.create_task(coroutine, context=context)
    task.add_done_callback(lambda _: member.crew.leave(member))
    return task


def outside_loop(work: Callable[[], T], interrupt: Callable[[int], bool] = lambda thread: False) -> T:
    """Call what runs an event loop of its own; where a loop is running already, as in a notebook, in another thread.

    Args:
        work: to call.
        interrupt: called with the identifier of that thread at each Ctrl-C. If it returns false, the interrupt is
            raised.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    done: Future[T] = Future()

    def carry_out() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    context = copy_context()  # by which a notebook knows in which cell to print
    thread = threading.Thread(target=lambda: context.run(carry_out), name="azr-call", daemon=True)
    thread.start()
    while True:
        try:
            return done.result()
        except KeyboardInterrupt:
            if done.done() or not interrupt(thread.ident or 0):
                raise
