"""The backend for macOS: a process per job, confined by Seatbelt (`sandbox-exec`) and watched from outside.

Nobody has run it on a Mac yet. `seatbelt_profile.py` says what Seatbelt allows. Before the first job, the sandbox tries
what it has to prevent, and refuses to work if any of it succeeds.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from azr.sandbox.backends import seatbelt_profile
from azr.sandbox.backends.subprocesses import Launch, SubprocessSandbox
from azr.sandbox.base import Job, Mode, Outcome, SandboxError
from azr.sandbox.doctor import LIMITS, probe, witness
from azr.sandbox.host.exchange import Stop

SANDBOX_EXEC = "/usr/bin/sandbox-exec"

_WATCH_SECONDS = 0.01
_INTERPRETER_BYTES = 48 * 2**20
"""Resident memory that a bare interpreter with the guest's modules may take, in addition to a job's limit."""


class SeatbeltSandbox:
    """Runs each job in a new interpreter that Seatbelt confines.

    Args:
        workers: processes that run at once; None for one per core.

    Raises:
        SandboxError: this is not macOS.
    """

    def __init__(self, *, workers: int | None = None) -> None:
        if not os.access(SANDBOX_EXEC, os.X_OK):
            raise SandboxError(
                f"backend 'seatbelt' needs macOS's {SANDBOX_EXEC}, which is not here: use sandbox.backend = 'local' on"
                " Linux, or 'docker'"
            )
        self._jail = _Jail(workers=workers)
        self._examined: asyncio.Task[None] | None = None

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `azr.sandbox.base.Sandbox.run`. The first call examines the jail.

        Raises:
            SandboxError: a protection does not hold, or no program runs.
        """
        if self._examined is None:
            self._examined = asyncio.create_task(_examine(self._jail))
        await asyncio.shield(self._examined)
        return await self._jail.run(job)

    async def close(self) -> None:
        """Kill every process that still runs. Safe to call twice."""
        if self._examined is not None:
            self._examined.cancel()
            await asyncio.wait([self._examined])
        await self._jail.close()


async def _examine(jail: _Jail) -> None:
    """Try what the jail has to prevent.

    Raises:
        SandboxError: some of it succeeded.
    """
    with witness() as canary:
        checks = await probe(jail, str(canary), os.getpid(), LIMITS, more=("fork in a script", "memory"))
    if broken := [check for check in checks if not check.holds]:
        found = "; ".join(f"{check.name}: {check.tried} gave {check.found}" for check in broken)
        raise SandboxError(
            f"backend 'seatbelt' does not hold on this machine ({found}): please report this line, and use"
            " sandbox.backend = 'docker'"
        )


class _Jail(SubprocessSandbox):
    """Confines and watches, and trusts the profile."""

    def __init__(self, *, workers: int | None) -> None:
        super().__init__(workers=workers)
        self._scripts: dict[int, list[psutil.Process]] = {}  # by the process that supervises them

    @contextmanager
    def _launch(self, job: Job) -> Iterator[Launch]:
        if job.mode is not Mode.SCRIPT:
            yield Launch(*seatbelt_profile.command(SANDBOX_EXEC, files=()))
            return
        # A script's standard input and output: the only files that it can write, since macOS has none in memory.
        with TemporaryDirectory(prefix="azr-") as folder:
            files = [Path(folder).resolve() / name for name in ("given", "printed")]
            for file in files:
                file.touch(mode=0o600)
            yield Launch(*seatbelt_profile.command(SANDBOX_EXEC, files=files), more={"files": [*map(str, files)]})

    async def _watch(self, process: Process, job: Job) -> Stop:
        """Watch what macOS does not limit: memory, and processor time beyond the signal that a program can ignore."""
        most_bytes = _INTERPRETER_BYTES + job.limits.memory_bytes
        try:
            watched = psutil.Process(process.pid)
            while True:
                family = [watched]
                if job.mode is Mode.SCRIPT:
                    self._scripts[process.pid] = watched.children(recursive=True)
                    family += self._scripts[process.pid]
                if sum(_resident_bytes(one) for one in family) > most_bytes:
                    return Stop.MEMORY
                if sum(_processor_seconds(one) for one in family) > job.limits.cpu_seconds + 1:
                    return Stop.PROCESSOR_TIME
                await asyncio.sleep(_WATCH_SECONDS)
        except psutil.NoSuchProcess:
            return Stop.NONE
        except psutil.AccessDenied as error:
            raise SandboxError(f"backend 'seatbelt' may not watch its own processes: {error}") from error

    def _kill(self, process: Process) -> None:
        """Kill a process and its script, which may have left the session."""
        scripts = self._scripts.pop(process.pid, [])
        if process.returncode is None:
            with suppress(ProcessLookupError, psutil.Error):
                os.kill(process.pid, signal.SIGSTOP)  # so that it starts no other meanwhile
                scripts += psutil.Process(process.pid).children(recursive=True)
        super()._kill(process)
        for child in scripts:
            with suppress(psutil.Error):
                child.kill()


def _resident_bytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
