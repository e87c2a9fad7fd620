"""A new interpreter for every job, in a session of its own: what the Seatbelt and the unsafe backend have in common."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from azr.sandbox.backends.bundle import RUN_ONE, program
from azr.sandbox.base import Job, Outcome
from azr.sandbox.host.exchange import HASH_SEEDS, Report, Stop, agree, content, judged, most_bytes, outcomes

_START_SECONDS = 1.0  # seconds for the interpreter to start on a busy machine, in addition to a program's wall clock


@dataclass(frozen=True, slots=True)
class Launch:
    """How the interpreter of one job is started."""

    prefix: Sequence[str] = ()
    """The command that runs the interpreter; it has to replace itself with it."""
    interpreter: str = sys.executable
    more: Mapping[str, Any] = field(default_factory=dict)
    """What is added to the request that the guest's code reads."""


class SubprocessSandbox:
    """Runs each job in a new interpreter; a backend says how it is started and watched.

    Args:
        workers: processes that run at once; None for one per core.
    """

    def __init__(self, *, workers: int | None = None) -> None:
        self._free = asyncio.Semaphore(workers or os.cpu_count() or 1)
        self._running: set[Process] = set()

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `azr.sandbox.base.Sandbox.run`."""
        unsent = judged(job)
        if unsent is not None:
            return unsent
        if not job.determinism:
            return await self._run_once(job, second=False)
        return agree(*await asyncio.gather(self._run_once(job, second=False), self._run_once(job, second=True)))

    async def close(self) -> None:
        """Kill every process that still runs. Safe to call twice."""
        running = tuple(self._running)
        for process in running:
            self._kill(process)
        await asyncio.gather(*(process.wait() for process in running))

    @contextmanager
    def _launch(self, job: Job) -> Iterator[Launch]:
        """Prepare the start of one process; what it needs is there until the process has ended."""
        yield Launch()

    async def _watch(self, process: Process, job: Job) -> Stop:
        """Return why a process has to be stopped when that is so; `Stop.NONE` ends the watch."""
        return Stop.NONE

    def _kill(self, process: Process) -> None:
        """Kill a process and whatever it started, unless that left its session."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    async def _run_once(self, job: Job, *, second: bool) -> tuple[Outcome, ...]:
        async with self._free:
            with self._launch(job) as launch:
                process = await asyncio.create_subprocess_exec(
                    # Not -I, which would ignore PYTHONHASHSEED; the environment holds nothing else.
                    *(*launch.prefix, launch.interpreter, "-s", "-S", "-c", program(RUN_ONE)),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,
                    env={"PYTHONHASHSEED": HASH_SEEDS[second]},
                    cwd="/",
                    start_new_session=True,
                )
                self._running.add(process)
                try:
                    report = await self._attend(process, job, _request(job, launch, second=second))
                finally:
                    self._kill(process)
                    await process.wait()
                    self._running.discard(process)
        return outcomes(job, report, second=second)

    async def _attend(self, process: Process, job: Job, text: bytes) -> Report:
        """Send a process its job and wait for its end."""
        assert process.stdin is not None
        assert process.stdout is not None
        started = time.monotonic()
        stop, payload = Stop.NONE, bytearray()
        watch = asyncio.create_task(self._stop_when_needed(process, job))
        process.stdin.write(text)
        process.stdin.close()
        try:
            async with asyncio.timeout(_START_SECONDS + job.limits.wall_seconds):
                while chunk := await process.stdout.read(1 << 16):
                    payload += chunk
                    if len(payload) > most_bytes(job):
                        stop = Stop.TOO_MUCH_OUTPUT
                        break
                else:
                    await process.wait()
        except TimeoutError:
            stop = Stop.WALL_CLOCK
        finally:
            watch.cancel()
        self._kill(process)
        exit_code = await process.wait()
        if stop is Stop.NONE and watch.done() and not watch.cancelled():
            stop = watch.result()
        # asyncio does not report the processor time; the elapsed time is never less.
        return Report(stop, exit_code, time.monotonic() - started, bytes(payload))

    async def _stop_when_needed(self, process: Process, job: Job) -> Stop:
        stop = await self._watch(process, job)
        if stop is not Stop.NONE:
            self._kill(process)
        return stop


def _request(job: Job, launch: Launch, *, second: bool) -> bytes:
    """Write a job for `child.run_job`."""
    return json.dumps(content(job, second=second) | dict(launch.more)).encode()
