"""The local Linux backend: jailed zygotes on this machine, nearly as fast as a bare fork.

This module turns jobs into runs and the ends of runs into outcomes. `fleet.py` decides which run comes next.
"""

import asyncio
import os
import sys
from dataclasses import replace
from math import ceil
from typing import Any, Literal

from azr.sandbox.base import Job, Mode, Outcome, Reason, SandboxError
from azr.sandbox.guest.wire import FINAL, FULL, LEAN, NEEDS_FULL, pack_job
from azr.sandbox.host.exchange import (
    DECISIVE,
    Report,
    agree,
    content,
    judged,
    outcomes,
    processor_time_up,
    room_for_outcome,
)
from azr.sandbox.host.fleet import Fleet
from azr.sandbox.host.spawn import HostLimitError
from azr.sandbox.jail.rlimits import too_much_for

Tier = Literal["auto", "full", "seccomp"]
_SEED, _OTHER_SEED = 1, 2
_GRACE = 0.25
"""Seconds that the host waits after a child's own clock. The host can only kill a child together with its zygote, which
takes longer than most runs, and does so only for programs that stop their clock."""

_CHECK_SECONDS = 2.0
"""The time limit of a checker. A job that needs longer is checked by its child, under its own limits."""

_CHECK_BYTES = 2**20  # the longest request to a checker: other jobs wait while it reads. Its answers are no longer.


class LocalSandbox:
    """Runs jobs in jailed processes of this machine.

    Each processor has a checker and a lean zygote. The first job that needs them starts full zygotes, those for scripts
    and, for `determinism`, a second set with another hash seed. They die with the thread that first ran a job.

    Args:
        workers: processes in a set; None for one on each processor that this process may use.
        tier: "full" has namespaces and a root of its own; "seccomp" has neither; "auto" takes the first that this
            machine allows.
    """

    def __init__(self, *, workers: int | None = None, tier: Tier = "auto") -> None:
        if workers is not None and workers < 1:
            raise SandboxError(f"sandbox workers must be at least 1, not {workers}")
        self._workers, self._asked = workers, tier
        self._home: _Home | None = None

    @property
    def tier(self) -> str | None:
        """The tier in force; None before the first job."""
        return self._home.tier if self._home else None

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `azr.sandbox.base.Sandbox.run`."""
        unsent = judged(job)
        if unsent is not None:
            return unsent
        home = self._home
        if home is not None and home.pid != os.getpid():
            raise SandboxError(
                f"this sandbox belongs to process {home.pid}, of which this process ({os.getpid()}) is a fork: make a "
                "sandbox of its own here"
            )
        loop = asyncio.get_running_loop()
        if home is None or home.loop is not loop:
            # Zygotes belong to the event loop that reads from them, and that loop is gone.
            await self.close()
            home = self._home = _Home(loop, self._workers, self._asked)
        return await home.run(job)

    async def close(self) -> None:
        """Kill every process that this sandbox started. Safe to call twice; a later `run` starts afresh.

        In a fork of the process that started them it only forgets them.
        """
        home, self._home = self._home, None
        if home is not None and home.pid == os.getpid():
            home.close()


class _Home:
    """The zygotes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, workers: int | None, tier: Tier) -> None:
        self.loop, self.pid = loop, os.getpid()
        self.tier: str | None = None
        self._asked = tier
        if sys.platform != "linux":
            raise SandboxError(
                f"the local sandbox needs Linux, this is {sys.platform}; use the docker or the remote one"
            )
        cpus = sorted(os.sched_getaffinity(0))
        self._cpus: list[int | None] = [cpus[i % len(cpus)] for i in range(workers or len(cpus))]
        self._fleets: dict[tuple[str, int], Fleet] = {}
        self._starts: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run a program on its inputs: in one child, or in several in turn if a pipe may not hold all outcomes."""
        checkers = await self._fleet("checker", _SEED)
        most = checkers.hello["room"] // room_for_outcome(job.limits.output_bytes)
        if most < 1:
            raise HostLimitError(
                f"limits: output_bytes is {job.limits.output_bytes}, a pipe holds {checkers.hello['room']}"
            )
        if len(job.inputs) <= most:
            return (await self._run_part(checkers, job))[0] if job.inputs else ()
        return tuple(await self._run_in_parts(checkers, job, most))

    def close(self) -> None:
        """Kill every zygote."""
        for start in self._starts.values():
            if not self.loop.is_closed():
                start.cancel()
        for fleet in self._fleets.values():
            fleet.close()

    async def _fleet(self, kind: str, seed: int) -> Fleet:
        start = self._starts.get((kind, seed))
        failed = start is not None and start.done() and not start.cancelled() and start.exception() is not None
        if start is None or failed:  # what was short then need not be short now
            start = self._starts[kind, seed] = self.loop.create_task(self._start(kind, seed))
        if not start.done():
            try:
                await asyncio.shield(start)
            except asyncio.CancelledError:
                if start.cancelled():  # and not the task that waits for it
                    raise SandboxError("the sandbox was closed before this job had run") from None
                raise
        start.result()
        return self._fleets[kind, seed]

    async def _start(self, kind: str, seed: int) -> None:
        """Start the zygotes of one kind with one seed, in the first tier that this machine allows."""
        refusals = []
        tiers = ("full", "seccomp") if self._asked == "auto" else (self._asked,)
        for tier in tiers if self.tier is None else (self.tier,):
            others_stand = self.tier is not None
            fleet = self._fleets[kind, seed] = Fleet(kind, tier, self._cpus, seed, others_stand=others_stand)
            try:
                await fleet.start()
            except SandboxError as error:
                fleet.close()
                if isinstance(error, HostLimitError):
                    raise
                refusals.append(f"{tier}: {error}")
            else:
                self.tier = tier
                return
        raise SandboxError(
            f"programs cannot be jailed on this machine ({'; '.join(refusals)}); use the docker or the remote sandbox, "
            "or a kernel with user namespaces or Landlock"
        )

    async def _run_in_parts(self, checkers: Fleet, job: Job, most: int) -> list[Outcome]:
        """Run a job in several children in turn. They share its processor time, and a death ends the job."""
        found: list[Outcome] = []
        spent, time_up = 0.0, processor_time_up(job.limits)
        while len(found) < len(job.inputs):
            left = replace(job.limits, cpu_seconds=ceil(job.limits.cpu_seconds - spent))
            last = time_up
            if left.cpu_seconds > 0:
                # Parts of equal size: an input that is alone in its part has the same place in both runs of a pair.
                rest = len(job.inputs) - len(found)
                size = ceil(rest / ceil(rest / most))
                part = replace(job, inputs=job.inputs[len(found) : len(found) + size], limits=left)
                part_outcomes, seconds = await self._run_part(checkers, part)
                spent += seconds
                found += [time_up if outcome == processor_time_up(left) else outcome for outcome in part_outcomes]
                last = found[-1]
            # A script that crashed did so in a process of its own.
            if last.reason in DECISIVE and (job.mode is not Mode.SCRIPT or last.reason is not Reason.CRASHED):
                found += [last] * (len(job.inputs) - len(found))
        return found

    async def _run_part(self, checkers: Fleet, job: Job) -> tuple[tuple[Outcome, ...], float]:
        """Have a job checked, then run it once, or twice if it asks for determinism.

        Returns the outcomes, and the seconds of processor time that the longer run took.
        """
        request = content(job, second=False)
        asked = pack_job(request)
        kind = made = b""
        if len(asked) <= _CHECK_BYTES:
            answer = await checkers.submit(
                asked,
                wall_seconds=min(job.limits.wall_seconds, _CHECK_SECONDS),
                cpu_seconds=job.limits.cpu_seconds,
            )
            kind, made = answer.payload[:1], answer.payload[1:]  # both empty if the checker died or was late
        if kind == FINAL:
            return outcomes(job, answer._replace(payload=made), second=False), 0.0
        if kind in (LEAN, FULL):
            request["ready"], request["second"] = made, False
        zygotes = "script" if job.mode is Mode.SCRIPT else "lean" if kind == LEAN else "full"
        if not (job.determinism and job.program):
            run = await self._begin(zygotes, _SEED, job, request)
            return await self._end(run, zygotes, job, request, second=False)
        back = request | {"second": True} if "ready" in request else content(job, second=True)
        # Both are queued before the first is waited for.
        forth = await self._begin(zygotes, _SEED, job, request)
        again = await self._begin(zygotes, _OTHER_SEED, job, back)
        there, seconds = await self._end(forth, zygotes, job, request, second=False)
        back_there, more = await self._end(again, zygotes, job, back, second=True)
        return agree(there, back_there), max(seconds, more)

    async def _begin(self, kind: str, seed: int, job: Job, request: dict[str, Any]) -> asyncio.Future[Report]:
        fleet = await self._fleet(kind, seed)
        limits = job.limits
        refusal = too_much_for(fleet.hello, cpu_seconds=limits.cpu_seconds, memory_bytes=limits.memory_bytes)
        if refusal:
            raise HostLimitError(refusal)
        return fleet.submit(
            pack_job(request), wall_seconds=limits.wall_seconds + _GRACE, cpu_seconds=limits.cpu_seconds
        )

    async def _end(
        self, run: asyncio.Future[Report], kind: str, job: Job, request: dict[str, Any], *, second: bool
    ) -> tuple[tuple[Outcome, ...], float]:
        """Wait for a run, and for another in a full zygote if the lean one lacked a module."""
        report = await run
        if kind == "lean" and report.exit_code == NEEDS_FULL:
            report = await (await self._begin("full", _OTHER_SEED if second else _SEED, job, request))
        return outcomes(job, report, second=second), report.cpu_seconds
