"""A client of SandboxFusion's `POST /run_code` that retries when the server is busy or restarts.

Request and answer are SandboxFusion's `RunCodeRequest` and `RunCodeResponse`
(https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from azr.http_client import PatientClient, UnavailableError, one_line
from azr.sandbox.base import SandboxError


@dataclass(frozen=True, slots=True)
class Ran:
    """The server's report on one run.

    Attributes:
        timed_out: the server stopped the run at `run_timeout`.
        stdout: what the process wrote, as far as the server kept it.
        stderr: the same for standard error.
        isolation: the server's isolation, if it reports it.
    """

    timed_out: bool
    stdout: str
    stderr: str
    isolation: str | None = None


class FusionClient:
    """Sends code to one server; `RemoteSandbox` explains the arguments."""

    def __init__(
        self, url: str, *, connections: int, attempts: int, backoff_seconds: float, headers: Mapping[str, str] | None
    ) -> None:
        self.url, self._attempts = url.rstrip("/"), attempts
        try:
            self._http = PatientClient(
                self.url,
                connections=connections,
                attempts=attempts,
                backoff_seconds=backoff_seconds,
                headers=headers,
                awaits_server=True,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise SandboxError(f"sandbox.url = {url!r} is not an address: {error}") from None

    async def run_code(self, code: str, *, run_timeout: float) -> Ran:
        """Run a Python program on the server, which is to stop it after `run_timeout` seconds.

        Raises:
            SandboxError: no answer, or no usable one, after all attempts.
        """
        request = {"code": code, "language": "python", "run_timeout": run_timeout, "compile_timeout": run_timeout}
        try:
            return await self._http.post("/run_code", request, read=self._read, read_seconds=run_timeout + 60.0)
        except httpx.UnsupportedProtocol as error:
            raise SandboxError(f"sandbox.url = {self.url!r} is not an address: {error}") from None
        except UnavailableError as error:
            raise SandboxError(
                f"the sandbox server at {self.url} failed {self._attempts} times ({one_line(str(error))}); is it"
                " running and reachable?"
            ) from None

    def _read(self, answer: httpx.Response) -> Ran:
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UnavailableError(f"status {answer.status_code}")
        if answer.status_code != 200:
            raise SandboxError(
                f"the sandbox server at {self.url} refused /run_code with status {answer.status_code}; "
                "is sandbox.url the address of a SandboxFusion server?"
            )
        try:
            content: dict[str, Any] = answer.json()
            if content["status"] == "SandboxError":
                raise UnavailableError(f"the server says: {one_line(content.get('message') or 'SandboxError')}")
            run = content["run_result"]
            return Ran(
                timed_out=run["status"] == "TimeLimitExceeded",
                stdout=run.get("stdout") or "",
                stderr=run.get("stderr") or "",
                isolation=content.get("isolation"),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SandboxError(
                f"the sandbox server at {self.url} does not answer /run_code as SandboxFusion does; check sandbox.url"
            ) from None

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._http.close()
