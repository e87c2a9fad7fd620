"""A subprocess for every job, with resource limits and nothing else: for development on systems without a jail.

It contains accidents: a crash, an endless loop and, if the system has that limit, a memory bomb. It does not stop a
malicious program, which has access to this user's files, network and processes.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

from azr.sandbox.backends.bundle import RUN_ONE, program
from azr.sandbox.base import Job, Outcome, SandboxError
from azr.sandbox.host.exchange import HASH_SEEDS, Report, Stop, agree, judged, most_bytes, outcomes, request

_START_SECONDS = 1.0  # seconds for the interpreter to start on a busy machine, in addition to a program's wall clock


class UnsafeSubprocessSandbox:
    """Runs each job in a new interpreter under this user's own rights.

    Args:
        workers: processes that run at once; None for one per core.
        allow_unsafe: must be True: accepts that the model's programs may harm this machine.

    Raises:
        SandboxError: `allow_unsafe` is False, or the system has no process groups.
    """

    def __init__(self, *, workers: int | None = None, allow_unsafe: bool = False) -> None:
        if not allow_unsafe:
            raise SandboxError(
                "backend 'unsafe' runs the model's programs with your own rights: use 'docker' or 'remote', "
                "or accept the risk with sandbox.allow_unsafe = true"
            )
        if sys.platform == "win32":
            raise SandboxError("backend 'unsafe' needs a POSIX system: use sandbox.backend = 'docker' or 'remote'")
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
            _kill_group(process)
        await asyncio.gather(*(process.wait() for process in running))

    async def _run_once(self, job: Job, *, second: bool) -> tuple[Outcome, ...]:
        async with self._free:
            process = await asyncio.create_subprocess_exec(
                # Not -I, which would ignore PYTHONHASHSEED; the environment holds nothing else.
                *(sys.executable, "-s", "-S", "-c", program(RUN_ONE)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={"PYTHONHASHSEED": HASH_SEEDS[second]},
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process)
            try:
                report = await _attend(process, request(job, second=second), job.limits.wall_seconds, most_bytes(job))
            finally:
                _kill_group(process)
                await process.wait()
                self._running.discard(process)
        return outcomes(job, report, second=second)


async def _attend(process: Process, text: bytes, wall_seconds: float, most: int) -> Report:
    """Send a process its job and wait for its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    started = time.monotonic()
    stop, payload = Stop.NONE, bytearray()
    process.stdin.write(text)
    process.stdin.close()
    try:
        async with asyncio.timeout(_START_SECONDS + wall_seconds):
            while chunk := await process.stdout.read(1 << 16):
                payload += chunk
                if len(payload) > most:
                    stop = Stop.TOO_MUCH_OUTPUT
                    break
            else:
                await process.wait()
    except TimeoutError:
        stop = Stop.WALL_CLOCK
    _kill_group(process)
    exit_code = await process.wait()
    # asyncio does not report the processor time; the elapsed time is never less.
    return Report(stop, exit_code, time.monotonic() - started, bytes(payload))


def _kill_group(process: Process) -> None:
    """Kill a process and whatever it started, unless that left its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
