"""Several sandbox servers as one: load is shared by outstanding jobs, and a lost server's jobs are run by another.

A job is a pure function, so it may be run twice; its caller gets one outcome per input all the same.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from azr.sandbox.base import Job, Outcome, SandboxError

_LONGEST_WAIT = 10.0
"""Most seconds between two attempts to meet a lost server."""


class LostServerError(Exception):
    """A server does not answer, or not now; another server or another attempt may."""


class Server(Protocol):
    """A server that has been met and may be used."""

    url: str
    kind: str
    """What it is, in a word or two."""
    python: str
    """Version of the Python that runs the programs, such as 3.11.7."""
    isolation: str
    """What contains its programs, in a few words."""
    capacity: int
    """Jobs that it takes at once."""

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job.

        Raises:
            LostServerError: there is no outcome, and another server may give one.
            SandboxError: the server refuses this job, as any other would.
        """
        ...

    async def ping(self, seconds: float) -> None:
        """Return if the server is alive.

        Raises:
            LostServerError: it did not say so within `seconds`.
        """
        ...


@dataclass(eq=False)
class _Member:
    """One address.

    Attributes:
        url: the address.
        server: None while it cannot be used.
        outstanding: jobs that it has.
        failures: attempts to meet it that failed in a row.
        reason: of the last of them.
        told: whether the user was told that it is lost.
        requests: of the outstanding jobs.
    """

    url: str
    server: Server | None = None
    outstanding: int = 0
    failures: int = 0
    reason: str = ""
    told: bool = False
    requests: set[asyncio.Task[tuple[Outcome, ...]]] = field(default_factory=set)


class Pool:
    """The servers of a run.

    Args:
        urls: at least one address.
        connect: finds out what is at an address, and checks that it may be used. Raises LostServerError if there is
            nothing now, and SandboxError if it must not be used.
        attempts: how often a job is sent, and how often in a row a server may fail to answer before it is given up.
        backoff_seconds: the wait before a lost server is asked again; doubled with each failure.
        silence_seconds: a server with jobs that says nothing for so long is lost.
    """

    def __init__(
        self,
        urls: Sequence[str],
        connect: Callable[[str], Awaitable[Server]],
        *,
        attempts: int,
        backoff_seconds: float,
        silence_seconds: float,
    ) -> None:
        self._members = [_Member(url) for url in urls]
        self._connect, self._attempts = connect, attempts
        self._backoff, self._silence = backoff_seconds, silence_seconds
        self._waiting: deque[asyncio.Future[tuple[_Member, Server]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._first: asyncio.Task[None] | None = None
        self._standard: Server | None = None

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job on the least busy server, and on others if that is lost.

        Raises:
            SandboxError: a server must not be used or refuses the job, none is left, or the job failed too often.
        """
        await self.meet()
        failure = ""
        for _ in range(self._attempts):
            member, server = await self._turn()
            try:
                return await self._ask(member, server, job)
            except LostServerError as error:
                failure = f"{server.url}: {error}"
                self._lose(member, server)
            finally:
                member.outstanding -= 1
                self._dispatch()
        raise SandboxError(
            f"a sandbox job failed {self._attempts} times, the last time at {failure}; look at the server's log, then"
            " repeat the command (a run continues with azr train --resume RUN)"
        )

    async def meet(self) -> list[Server]:
        """Meet all servers, the first time; returns those that can be used now.

        Raises:
            SandboxError: one of them must not be used.
        """
        if self._first is None:
            self._first = asyncio.create_task(self._meet_all())
        await asyncio.shield(self._first)
        return [member.server for member in self._members if member.server is not None]

    async def close(self) -> None:
        """Forget all servers; jobs that wait are cancelled. Safe to call twice."""
        tasks = [*self._tasks, *(request for member in self._members for request in member.requests)]
        if self._first is not None:
            tasks.append(self._first)
        for task in tasks:
            task.cancel()
        for ticket in self._waiting:
            ticket.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- which server gets a job ---

    async def _turn(self) -> tuple[_Member, Server]:
        """Wait until a server has room; it counts one more outstanding job."""
        ticket: asyncio.Future[tuple[_Member, Server]] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._dispatch()
        try:
            return await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                ticket.result()[0].outstanding -= 1
                self._dispatch()
            raise

    def _dispatch(self) -> None:
        """Give jobs that wait to servers that have room; if no server is left, they fail."""
        while self._waiting:
            ready = [(member, member.server) for member in self._members if member.server is not None]
            free = [(member, server) for member, server in ready if member.outstanding < server.capacity]
            if not free and (ready or any(member.failures < self._attempts for member in self._members)):
                return
            ticket = self._waiting.popleft()
            if ticket.done():
                continue
            if free:
                chosen = min(free, key=lambda one: one[0].outstanding / one[1].capacity)
                chosen[0].outstanding += 1
                ticket.set_result(chosen)
            else:
                ticket.set_exception(self._none_left())

    def _none_left(self) -> SandboxError:
        reasons = "; ".join(f"{member.url}: {member.reason}" for member in self._members)
        if self._standard is None:
            return SandboxError(
                f"no sandbox server answers ({reasons}); start one with azr sandbox serve, or check sandbox.url"
            )
        return SandboxError(
            f"no sandbox server is left ({reasons}); start them again, then repeat the command (a run continues with"
            " azr train --resume RUN)"
        )

    async def _ask(self, member: _Member, server: Server, job: Job) -> tuple[Outcome, ...]:
        request = asyncio.ensure_future(server.run(job))
        member.requests.add(request)
        try:
            await asyncio.wait({request})
        finally:
            member.requests.discard(request)
            request.cancel()  # does nothing once it has ended
        if request.cancelled():
            raise LostServerError(member.reason or "it fell silent")
        return request.result()

    # --- which servers there are ---

    async def _meet_all(self) -> None:
        for error in await asyncio.gather(*(self._meet(member) for member in self._members)):
            if error is not None:
                raise error
        for member in self._members:
            if member.server is None:
                self._start(self._revive(member))

    async def _meet(self, member: _Member) -> SandboxError | None:
        """Try to bring a server into service; returns why it must not be used, if that is so."""
        try:
            server = await self._connect(member.url)
            self._compare(server)
        except LostServerError as error:
            self._count_failure(member, str(error), 1, f"the sandbox server at {member.url} is lost ({error})")
            return None
        except SandboxError as error:
            # As often as it takes to give up: it would say the same at once.
            self._count_failure(member, str(error), self._attempts, f"{error}; it gets no jobs")
            return error
        if member.told:
            print(f"azr: the sandbox server at {member.url} is back", file=sys.stderr)
        member.server, member.failures, member.reason, member.told = server, 0, "", False
        self._start(self._watch(member, server))
        self._dispatch()
        return None

    def _compare(self, server: Server) -> None:
        """Check that a server runs the same Python as the first one that was met."""
        if self._standard is None:
            self._standard = server
        if server.python != self._standard.python:
            raise SandboxError(
                f"the sandbox servers differ: Python {self._standard.python} at {self._standard.url}, {server.python}"
                f" at {server.url}; verdicts must not depend on the server, so run the same Python on all of them"
            )

    def _count_failure(self, member: _Member, reason: str, failures: int, line: str) -> None:
        """Note that a server could not be met, and tell the user once, if there are others."""
        member.failures, member.reason = member.failures + failures, reason
        if not member.told and len(self._members) > 1:
            print(f"azr: {line}", file=sys.stderr)
            member.told = True
        self._dispatch()

    def _lose(self, member: _Member, server: Server) -> None:
        """Give a server no more jobs until it has been met again."""
        if member.server is server:
            member.server, member.failures = None, 0
            self._start(self._revive(member))

    async def _revive(self, member: _Member) -> None:
        """Meet a lost server until it can be used."""
        while member.server is None:
            if member.failures:
                await asyncio.sleep(min(self._backoff * 2 ** min(member.failures - 1, 16), _LONGEST_WAIT))
            await self._meet(member)

    async def _watch(self, member: _Member, server: Server) -> None:
        """Ask a server that has jobs whether it is alive; if it is not, its jobs go to others."""
        while member.server is server:
            await asyncio.sleep(self._silence / 3)
            try:
                if member.outstanding:
                    await server.ping(self._silence)
            except LostServerError as error:
                self._lose(member, server)
                member.reason = str(error)
                for request in tuple(member.requests):
                    request.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
