"""One container with a fork server inside, driven through the `docker` command."""

import asyncio
import secrets
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Self

from azr.sandbox.backends.bundle import SERVE, program
from azr.sandbox.base import SandboxError
from azr.sandbox.guest.forkserver import CHUNK, JOB, READY, REPORT
from azr.sandbox.host.exchange import Report, Stop

_RIGHTS = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--user", "65534:65534", "--pids-limit", "64", "--ulimit", "core=0:0", "--workdir", "/"),
    # Or the engine would keep every value that ever came out of a container in a file on the host.
    *("--log-driver", "none"),
    # No job may leave anything for the next: no /dev/shm, no System V objects. The child's own limits forbid files and
    # POSIX message queues.
    *("--ipc", "none", "--sysctl", "kernel.shmmni=0", "--sysctl", "kernel.msgmni=0", "--sysctl", "kernel.sem=0 0 0 0"),
)
"""What every container is denied, in addition to Docker's own seccomp profile."""

_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0  # seconds after a job's wall clock when the container counts as dead if there is no answer


class ContainerDiedError(Exception):
    """A container ended or fell silent before it answered."""


async def check_engine(docker: str, image: str) -> None:
    """Check that the engine answers and has the image.

    Raises:
        SandboxError: what is missing, and the command that gets it.
    """
    try:
        await _docker(docker, "version", "--format", "{{.Server.Version}}")
    except _CommandError as error:
        raise SandboxError(
            f"no Docker engine answers ({error}): start one, or choose another sandbox.backend"
        ) from None
    try:
        await _docker(docker, "image", "inspect", "--format", "{{.Id}}", image)
    except _CommandError:
        raise SandboxError(
            f"the Docker engine has no image {image!r}: run `docker pull {image}`, or build one here with "
            "`azr sandbox image`"
        ) from None


class Container:
    """A running container and the pipe to its fork server. It takes one job at a time."""

    def __init__(self, docker: str, name: str, process: Process) -> None:
        self._docker = docker
        self._process = process
        self.name = name

    @classmethod
    async def start(cls, docker: str, image: str, *, hash_seed: str, memory_bytes: int) -> Self:
        """Start a container and wait until its fork server is ready.

        `memory_bytes` limits all its processes together.

        Raises:
            SandboxError: it does not start; the message has the engine's reason.
        """
        name = f"azr-sandbox-{secrets.token_hex(8)}"
        memory = ("--memory", str(memory_bytes), "--memory-swap", str(memory_bytes))
        command = (
            *(docker, "run", "--rm", "--interactive", "--pull", "never", "--name", name, *_RIGHTS, *memory),
            *("--env", f"PYTHONHASHSEED={hash_seed}", "--entrypoint", "python3", image),
            # Not -I, which would ignore PYTHONHASHSEED.
            *("-s", "-S", "-c", program(SERVE)),
        )
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        container = cls(docker, name, process)
        ready = b""
        try:
            with suppress(TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_START_SECONDS):
                    ready = await container._read(len(READY))
        except BaseException:
            await container.kill()
            raise
        if ready != READY:
            await container.kill()
            assert process.stderr is not None
            raise SandboxError(f"the sandbox's container does not start: {summary(await process.stderr.read())}")
        return container

    async def run(self, text: bytes, wall_seconds: float, most_bytes: int) -> Report:
        """Run one job that `exchange.request` made; it is killed after `wall_seconds` or `most_bytes` of output.

        Raises:
            ContainerDiedError: no answer, or none that a fork server gives; this container can only be killed now.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(JOB.pack(wall_seconds, most_bytes, len(text)) + text)
            async with asyncio.timeout(wall_seconds + _GRACE_SECONDS):
                return await self._answer(most_bytes)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise ContainerDiedError(str(error)) from error

    async def _answer(self, most_bytes: int) -> Report:
        payload = bytearray()
        while length := CHUNK.unpack(await self._read(CHUNK.size))[0]:
            if len(payload) + length > most_bytes:
                raise ContainerDiedError("the fork server passes on more than it may")
            payload += await self._read(length)
        stop, exit_code, cpu_seconds = REPORT.unpack(await self._read(REPORT.size))
        return Report(Stop(stop), exit_code, cpu_seconds, bytes(payload))

    async def kill(self) -> None:
        """Stop the container, whatever it does, and wait until it is gone. Safe to call twice."""
        assert self._process.stdin is not None
        # A fork server ends with its input, also in a container that is still being made and that the command below
        # would not find.
        self._process.stdin.close()
        if self._process.returncode is None:
            with suppress(_CommandError):
                await _docker(self._docker, "rm", "--force", self.name)
        await self._process.wait()

    async def _read(self, length: int) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readexactly(length)


class _CommandError(Exception):
    """A docker command that failed; the message is its last line."""


async def _docker(docker: str, *arguments: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(docker, *arguments, stdout=DEVNULL, stderr=PIPE)
    except OSError as error:
        raise _CommandError(f"cannot run {docker!r}: {error.strerror}") from None
    _, stderr = await process.communicate()
    if process.returncode != 0:
        raise _CommandError(summary(stderr))


def summary(stderr: bytes) -> str:
    """Return the line with the error from what a docker command wrote, or its last line."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return next((line for line in lines if "rror" in line), lines[-1] if lines else "no reason given")[:300]
