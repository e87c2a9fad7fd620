"""The remote backend: jobs go to a pool of servers, each of azr's own (`azr sandbox serve`) or SandboxFusion."""

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx

from azr.http_client import PatientClient, one_line
from azr.sandbox.backends.fusion import FusionServer
from azr.sandbox.backends.pool import LostServerError, Pool, Server
from azr.sandbox.backends.served import JailServer, said
from azr.sandbox.base import Job, Outcome, SandboxError
from azr.sandbox.host.exchange import judged
from azr.sandbox.protocol import TOKEN_VARIABLE

_CONNECTIONS = 64


class RemoteSandbox:
    """Runs jobs on sandbox servers.

    The first job meets all servers: it finds out what they are, and checks that they isolate programs and run the same
    Python. A server that is lost is met again before it gets more jobs.

    Args:
        url: address of a server, or of several.
        workers: jobs that each server gets at once, at most; None: as many as a server of azr takes, and 64 for
            SandboxFusion. Others wait here.
        allow_unsafe: use servers of azr that do not isolate programs.
        attempts: how often a job is sent, and how often in a row a server may fail to answer before it is given up.
        backoff_seconds: the wait before a lost server is asked again; it doubles with every further failure.
        silence_seconds: an azr server with jobs that does not answer for so long is lost.
        token_env: environment variable with a token that is sent to every server as `Authorization: Bearer`.
        headers: sent with every request, such as an API key.

    Raises:
        SandboxError: there is no address, or one is malformed.
    """

    def __init__(
        self,
        *,
        url: str | Sequence[str] | None = None,
        workers: int | None = None,
        allow_unsafe: bool = False,
        attempts: int = 5,
        backoff_seconds: float = 0.25,
        silence_seconds: float = 30.0,
        token_env: str = TOKEN_VARIABLE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        urls = [one.rstrip("/") for one in ([url] if isinstance(url, str) else url or ())]
        if not urls:
            raise SandboxError(
                "sandbox.backend = 'remote' needs sandbox.url, the addresses of servers that `azr sandbox serve` or"
                " SandboxFusion runs on"
            )
        self._workers, self._allow_unsafe = workers, allow_unsafe
        token = os.environ.get(token_env)
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        self._clients = {url: self._client(url, sent) for url in urls}
        self._warned: set[str] = set()
        self._pool = Pool(
            list(self._clients),
            self._connect,
            attempts=attempts,
            backoff_seconds=backoff_seconds,
            silence_seconds=silence_seconds,
        )

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job; see `azr.sandbox.base.Sandbox.run`."""
        unsent = judged(job)
        return await self._pool.run(job) if unsent is None else unsent

    async def meet(self) -> list[Server]:
        """The servers that can be used now.

        Raises:
            SandboxError: one of them must not be used: it does not isolate programs, or is of another version.
        """
        return await self._pool.meet()

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._pool.close()
        for client in self._clients.values():
            await client.close()

    def _client(self, url: str, headers: Mapping[str, str]) -> PatientClient:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SandboxError(f"sandbox.url = {url!r} is not an address; it has the form http://host:port")
        # One attempt: the pool sends a job again, perhaps to another server.
        return PatientClient(
            url,
            connections=self._workers or 16 * _CONNECTIONS,
            attempts=1,
            backoff_seconds=0.0,
            headers=headers,
            awaits_server=True,
        )

    async def _connect(self, url: str) -> Server:
        """Find out what is at an address, and check that it may be used; see `Pool`."""
        http = self._clients[url]
        try:
            answer = await http.get("/info")
        except httpx.TransportError as error:
            raise LostServerError(one_line(str(error) or type(error).__name__)) from None
        if answer.status_code in (401, 403):
            raise SandboxError(f"the sandbox server at {url}: {said(answer)}")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise LostServerError(f"status {answer.status_code}")
        try:
            told = answer.json() if answer.status_code == 200 else None
        except ValueError:
            told = None
        if isinstance(told, dict) and "azr" in told:
            jail = JailServer(url, http, told, self._workers)
            await jail.meet(allow_unsafe=self._allow_unsafe)
            return jail
        fusion = FusionServer(url, http, self._workers or _CONNECTIONS)
        await fusion.meet(warn=url not in self._warned)
        self._warned.add(url)
        return fusion
