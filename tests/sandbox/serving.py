"""Real servers of `azr sandbox serve`: in this process for speed, or in processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from aiohttp import web

from azr.sandbox import Job, Limits, Outcome, Sandbox
from azr.sandbox.base import JOB_BYTES
from azr.sandbox.doctor import Check
from azr.sandbox.serve import SandboxServer

MOST = Limits(wall_seconds=60.0, cpu_seconds=60, memory_bytes=2**30, output_bytes=JOB_BYTES, depth=1000)


class Kept:
    """A sandbox that several servers share, so that none of them closes it; it notes its jobs."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.jobs, self.running, self.peak = 0, 0, 0
        self.programs: set[str] = set()

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        self.jobs += 1
        self.programs.add(job.program)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await self._sandbox.run(job)
        finally:
            self.running -= 1

    async def close(self) -> None:
        pass


async def unexamined(sandbox: Sandbox) -> list[Check]:
    """Instead of the doctor, which takes seconds."""
    return []


@dataclass
class Served:
    """A server in this process."""

    url: str
    server: SandboxServer
    runner: web.AppRunner


@asynccontextmanager
async def served(sandbox: Sandbox, *, port: int = 0, **options) -> AsyncIterator[Served]:
    """Serve a sandbox in this process."""
    settings = {"backend": "local", "capacity": 4, "most": MOST, "examine": unexamined, **options}
    server = SandboxServer(sandbox, **settings)
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.0, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield Served(f"http://127.0.0.1:{runner.addresses[0][1]}", server, runner)
    finally:
        await runner.cleanup()


@dataclass
class Host:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def hosts(count: int, *options: str, env: Mapping[str, str] | None = None) -> Iterator[list[Host]]:
    """Run `azr sandbox serve` in processes of their own, all started at once."""
    command = [sys.executable, "-m", "azr", "sandbox", "serve", "--port", "0", "--workers", "1", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env={**os.environ, **(env or {})}, **pipes) for _ in range(count)]
    try:
        yield [Host(process.stdout.readline().partition(": ")[0], process) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
