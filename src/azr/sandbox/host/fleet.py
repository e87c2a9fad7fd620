"""Zygotes of one event loop: which one gets the next run, which runs start again, and when the host gives up.

A run is one child, or one answer of a checker. A zygote has few at a time: the one in its child and those in the pipe,
so that it does not wait for the host. Everything happens in callbacks of the loop, without a thread or task per run.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any

from azr.sandbox.base import SandboxError
from azr.sandbox.host.exchange import Report
from azr.sandbox.host.handle import AHEAD, Handle, Run
from azr.sandbox.host.remains import Remains

_STARTS, _STARTS_WHERE_OTHERS_STAND = 3, 20
"""How often the first zygote of a fleet may fail to start. If other fleets of the sandbox have started, the jail works
here and the trouble may pass: about 30 seconds."""

_DEATHS = 5
"""Processes are also killed from outside: by the kernel when memory is short, or by mistake. A run that was in progress
at this many deaths counts as their cause. Deaths before its start or after its end do not count."""

_TRIES = 50  # the most starts of a run, in case every process dies before it has read the job


class Fleet:
    """Zygotes of one kind that share a hash seed, and the runs that wait for them.

    Once one zygote has started, later failures to start are retried as long as callers wait. `others_stand` says
    whether other fleets have started in this tier; the other arguments are those of `zygote.main`.
    """

    def __init__(self, kind: str, tier: str, cpus: list[int | None], seed: int, *, others_stand: bool) -> None:
        self.kind, self.tier, self.seed = kind, tier, seed
        self.hello: dict[str, Any] = {}  # the first line of the first zygote
        self.pid = os.getpid()
        self.remains: set[Remains] = set()  # zygotes that are dead or dying
        self._others_stand = others_stand
        self._first: asyncio.Future[dict[str, Any]] | None = None
        self._broken: SandboxError | None = None
        self._waiting: deque[Run] = deque()
        self._zygotes = [Handle(self, cpu) for cpu in cpus]

    async def start(self) -> None:
        """Start the first zygote, and then the others.

        Raises:
            SandboxError: the jail cannot be built here, or a process cannot be started.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._zygotes[0].start()
        await self._first
        for zygote in self._zygotes[1:]:
            zygote.start()

    def submit(self, job: bytes, *, wall_seconds: float, cpu_seconds: int) -> asyncio.Future[Report]:
        """Queue a run, and return the future of its report.

        Raises:
            SandboxError: the fleet is closed.
        """
        if self._broken is not None:
            raise self._broken
        run = Run(job, wall_seconds, cpu_seconds, asyncio.get_running_loop().create_future())
        self._waiting.append(run)
        self.dispatch()
        return run.ended

    def dispatch(self) -> None:
        """Hand waiting runs to the zygotes that have the fewest."""
        while self._waiting:
            zygote = min(self._zygotes, key=Handle.load)
            if zygote.load() >= AHEAD[self.kind]:
                return
            run = self._waiting.popleft()
            if not run.ended.cancelled():
                zygote.give(run)

    def take_back(self, runs: deque[Run]) -> None:
        """Put the runs that a dead zygote had not started back at the head of the queue."""
        for run in runs:
            run.disturbed = True
        self._waiting.extendleft(reversed(runs))

    def again(self, run: Run, report: Report, *, died: bool) -> None:
        """Put a run whose process was killed back at the head of the queue, or end it if this was the last attempt.

        `died` says whether the process was killed while it ran this.
        """
        run.disturbed = True
        run.tries += 1
        run.deaths += died
        if run.deaths >= _DEATHS or run.tries >= _TRIES:
            run.end(report)
        elif self._broken is not None:
            run.end(self._broken)
        else:
            self._waiting.appendleft(run)
            asyncio.get_running_loop().call_soon(self.dispatch)

    def stands(self, hello: dict[str, Any]) -> None:
        """Note that a zygote has started."""
        self.hello = self.hello or hello
        if self._first is not None and not self._first.done():
            self._first.set_result(hello)

    def gives_up(self, error: SandboxError, *, starts: int, refused: bool) -> bool:
        """Whether to stop trying to start a zygote after `starts` failures in a row; then all waiting runs end.

        `refused` says whether it reported itself that the jail cannot be built.
        """
        most = _STARTS_WHERE_OTHERS_STAND if self._others_stand else 1 if refused else _STARTS
        if self.hello or starts < most:
            return False
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
        self._fail_all(error)
        return True

    def close(self) -> None:
        """Kill every zygote and its child, and wait until they are gone."""
        self._broken = SandboxError("the sandbox was closed before this job had run")
        for zygote in self._zygotes:
            zygote.stop()
        for remains in list(self.remains):
            remains.close()
        self._fail_all(self._broken)

    def _fail_all(self, error: SandboxError) -> None:
        self._broken = error
        for run in self._waiting:
            run.end(error)
        self._waiting.clear()
