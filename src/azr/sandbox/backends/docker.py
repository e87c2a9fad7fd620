"""The Docker backend: long-lived containers without network, rights or writable files, each with a fork server inside.

A container takes one job at a time and forks a child for it (`forkserver.py`). If it dies, falls silent or was tampered
with, it is replaced and its job is run again.
"""

import asyncio
import os
import signal
from functools import partial

from azr.sandbox.backends.container import Container, ContainerDiedError, check_engine
from azr.sandbox.base import Job, Outcome, SandboxError
from azr.sandbox.host.exchange import HASH_SEEDS, Report, Stop, agree, judged, most_bytes, outcomes, request

_ATTEMPTS = 3  # how many containers may die during a job before the job counts as the cause
_SERVER_BYTES = 128 * 2**20
"""Memory of a container beyond its job's limit: interpreter, fork server, pipes, page tables."""


class DockerSandbox:
    """Runs jobs in Docker containers, started when they are first needed.

    Args:
        image: an image with a `python3` of version 3.11 or later; `image.py` makes one on this machine.
        workers: jobs that run at once; None for one per core. Determinism needs twice as many containers.
        memory_bytes: the largest memory limit that a job may have; the container's own limit follows from it.
        docker: the Docker command; its environment (`DOCKER_HOST`, contexts) selects the engine.
    """

    def __init__(
        self,
        *,
        image: str = "python:3.12-slim",
        workers: int | None = None,
        memory_bytes: int = 2**30,
        docker: str = "docker",
    ) -> None:
        self._memory_bytes, self._image, self._docker = memory_bytes, image, docker
        self._check: asyncio.Task[None] | None = None
        size, most = workers or os.cpu_count() or 1, memory_bytes + _SERVER_BYTES
        self._first, self._second = (_Pool(docker, image, seed, size, most) for seed in HASH_SEEDS)

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `azr.sandbox.base.Sandbox.run`."""
        unsent = judged(job)
        if unsent is not None:
            return unsent
        if job.limits.memory_bytes > self._memory_bytes:
            raise SandboxError(
                f"a job's memory limit of {job.limits.memory_bytes} bytes is more than the {self._memory_bytes} that "
                "the containers were made for: give DockerSandbox a larger memory_bytes"
            )
        if self._check is None:
            self._check = asyncio.create_task(check_engine(self._docker, self._image))
        await asyncio.shield(self._check)
        if not job.determinism:
            return await self._run_once(job, second=False)
        return agree(*await asyncio.gather(self._run_once(job, second=False), self._run_once(job, second=True)))

    async def close(self) -> None:
        """Stop all containers. Safe to call twice."""
        await asyncio.gather(self._first.close(), self._second.close())

    async def _run_once(self, job: Job, *, second: bool) -> tuple[Outcome, ...]:
        pool = self._second if second else self._first
        report = await pool.run(request(job, second=second), job.limits.wall_seconds, most_bytes(job))
        return outcomes(job, report, second=second)


class _Pool:
    """At most `size` containers with one hash seed, each started when all others are busy."""

    def __init__(self, docker: str, image: str, hash_seed: str, size: int, memory_bytes: int) -> None:
        self._start = partial(Container.start, docker, image, hash_seed=hash_seed, memory_bytes=memory_bytes)
        self._free = asyncio.Semaphore(size)
        self._idle: list[Container] = []
        self._busy: set[Container] = set()

    async def run(self, text: bytes, wall_seconds: float, most: int) -> Report:
        """Run a job in a free container, and in others if that dies."""
        async with self._free:
            for attempt in range(_ATTEMPTS):
                container = self._idle.pop() if self._idle else await self._start()
                self._busy.add(container)
                healthy = False
                try:
                    report = await container.run(text, wall_seconds, most)
                    healthy = report.stop is not Stop.TAMPERING
                    return report._replace(disturbed=attempt > 0)
                except ContainerDiedError:
                    continue
                finally:
                    # The container of a job that was cancelled is killed too: it is still at work.
                    self._busy.discard(container)
                    if healthy:
                        self._idle.append(container)
                    else:
                        await container.kill()
        return Report(Stop.LOST, -signal.SIGKILL, 0.0, b"")

    async def close(self) -> None:
        """Stop every container, whatever it does."""
        containers, self._idle = [*self._idle, *self._busy], []
        await asyncio.gather(*(container.kill() for container in containers))
