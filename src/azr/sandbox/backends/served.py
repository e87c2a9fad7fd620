"""One server that `azr sandbox serve` started."""

import logging
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from azr import __version__
from azr.http_client import PatientClient, UnavailableError, one_line
from azr.sandbox.backends.pool import LostServerError
from azr.sandbox.base import Job, Limits, Outcome, SandboxError
from azr.sandbox.doctor import probe
from azr.sandbox.protocol import PROTOCOL, TOKEN_VARIABLE, Info, excess, guest_digest, read_outcomes, write_job

_log = logging.getLogger(__name__)

_LONGEST_SECONDS = 3600.0
"""Longest wait for an answer. A job may wait in the server, which is asked meanwhile whether it is alive."""


class JailServer:
    """A server of azr's own sandbox (see `azr.sandbox.backends.pool.Server`).

    Args:
        url: its address.
        http: connections to it; each request is sent once.
        told: its answer to `GET /info`.
        most: jobs that it gets at once, even if it takes more; None: as many as it takes.

    Raises:
        SandboxError: it is of another version, or its answer is not understood.
    """

    kind = "azr"

    def __init__(self, url: str, http: PatientClient, told: Any, most: int | None) -> None:
        self.url, self._http = url, http
        if told.get("protocol") != PROTOCOL:
            raise SandboxError(
                f"the sandbox server at {url} (azr {told.get('azr')}) speaks protocol {told.get('protocol')}, this is"
                f" azr {__version__} with protocol {PROTOCOL}; install the same azr on both"
            )
        try:
            self.info = Info.model_validate(told)
        except ValidationError:
            raise SandboxError(f"the sandbox server at {url} answers /info in an unknown form") from None
        if self.info.guest != guest_digest():
            raise SandboxError(
                f"the sandbox server at {url} (azr {self.info.azr}) runs programs by other code than this azr"
                f" ({__version__}), and verdicts could differ; install the same azr on both"
            )
        self.python = self.info.python
        self.capacity = min(self.info.capacity, most or self.info.capacity)
        kept = "every protection held" if self.info.isolated else "NOT isolated"
        self.isolation = f"{self.info.backend}{f' ({self.info.tier})' if self.info.tier else ''}: {kept}"

    async def meet(self, *, allow_unsafe: bool) -> None:
        """Check that programs are isolated: the server must say so, and programs that try must fail.

        Raises:
            LostServerError: no answer.
            SandboxError: they are not isolated, and `allow_unsafe` is not set.
        """
        found = ["it says so itself"] if not self.info.isolated else []
        if self.info.isolated:
            most = self.info.limits
            limits = Limits(min(10.0, most.wall_seconds), min(5, most.cpu_seconds), min(2**27, most.memory_bytes))
            checks = await probe(self, self.info.canary, self.info.pid, limits)
            found = [f"{check.name}: {check.tried} gave {check.found}" for check in checks if not check.holds]
        if found and not allow_unsafe:
            raise SandboxError(
                f"the sandbox server at {self.url} does not isolate programs ({one_line('; '.join(found))}); look into"
                " `azr sandbox doctor` on its machine, or accept the risk with sandbox.allow_unsafe = true"
            )
        if found:
            _log.warning("the sandbox server at %s does not isolate programs", self.url)

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `Server.run`."""
        if asked := excess(job.limits, self.info.limits):
            raise SandboxError(
                f"the sandbox server at {self.url} does not allow limits this high: {asked}; lower them, or start the"
                " server with a higher --max-wall-seconds or --max-memory-mb"
            )
        inputs = len(job.inputs)

        def read(answer: httpx.Response) -> tuple[Outcome, ...]:
            if answer.status_code in (400, 413, 415, 422):
                raise SandboxError(f"the sandbox server at {self.url} refuses a job: {said(answer)}")
            if answer.status_code != 200:
                raise UnavailableError(said(answer))
            try:
                return read_outcomes(answer.content, inputs)
            except (ValueError, KeyError, RecursionError) as error:
                raise UnavailableError(f"it answers /run in an unknown form: {error}") from None

        try:
            route = f"/run?instance={quote(self.info.instance)}"
            return await self._http.post(route, write_job(job), read=read, read_seconds=_LONGEST_SECONDS)
        except UnavailableError as error:
            raise LostServerError(one_line(str(error))) from None

    async def ping(self, seconds: float) -> None:
        """See `Server.ping`."""
        try:
            await self._http.get("/info", read_seconds=seconds)
        except httpx.TransportError as error:
            raise LostServerError(one_line(str(error) or type(error).__name__)) from None

    async def close(self) -> None:
        """Nothing: the connections belong to the pool."""


def said(answer: httpx.Response) -> str:
    """Why a server refuses: its own words, if there are any."""
    try:
        words = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        words = ""
    refused = f"it refuses the token; set {TOKEN_VARIABLE} to the server's" if answer.status_code in (401, 403) else ""
    return one_line(refused or f"status {answer.status_code}{': ' if words else ''}{words}")
