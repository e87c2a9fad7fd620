"""Running many coroutines at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Crew:
    """All coroutines that an outermost `gather` runs, those of the gathers within them included.

    An engine that answers a whole batch at once asks it whether everybody waits, and is called when somebody leaves.

    Attributes:
        members: those that have not ended.
        watchers: called whenever a member ends.
    """

    def __init__(self) -> None:
        self.members: set[Member] = set()
        self.watchers: set[Callable[[], None]] = set()

    def waits(self) -> bool:
        """Whether no member is at work anywhere else, such as in the sandbox."""
        return all(member.waits for member in self.members)

    def leave(self, member: Member) -> None:
        """Let go of a member that has ended."""
        self.members.discard(member)
        for watcher in tuple(self.watchers):
            watcher()


@dataclass(slots=True, eq=False)
class Member:
    """One coroutine of a crew.

    Attributes:
        crew: its crew.
        answers: what it has asked an engine for.
        inner: gathers of its own that are under way; their members then stand in for it.
    """

    crew: Crew
    answers: set[asyncio.Future[Any]] = field(default_factory=set)
    inner: int = 0

    @property
    def waits(self) -> bool:
        """Whether it waits for an engine, or for members of its own."""
        return self.inner > 0 or any(not answer.done() for answer in self.answers)


_member: ContextVar[Member | None] = ContextVar("azr_member", default=None)


def current_member() -> Member | None:
    """The coroutine of a crew that is running; None outside `gather`."""
    return _member.get()


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once, as members of one crew; results in the order given.

    Raises:
        Exception: the first failure itself, after the others were cancelled; never an exception group, so that whoever
            waits for a `UserError` sees it.
    """
    outer = current_member()
    crew = Crew() if outer is None else outer.crew
    if outer is not None:
        outer.inner += 1
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [_start(group, coroutine, Member(crew)) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None
    finally:
        if outer is not None:
            outer.inner -= 1
    return [task.result() for task in tasks]


def _start(group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, T], member: Member) -> asyncio.Task[T]:
    context = copy_context()
    context.run(_member.set, member)
    member.crew.members.add(member)
    task = group.create_task(coroutine, context=context)
    task.add_done_callback(lambda _: member.crew.leave(member))
    return task
