"""A client of SandboxFusion's `POST /run_code`: bounded, patient with a server that is busy or restarting.

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
    """What the server says of one run.

    Attributes:
        timed_out: the server stopped the run at `run_timeout`.
        return_code: the process's exit status; None when it was stopped.
        stdout: what the process wrote, as far as the server kept it.
        stderr: the same for standard error.
        isolation: what the server says of its isolation, where it says anything.
    """

    timed_out: bool
    return_code: int | None
    stdout: str
    stderr: str
    isolation: str | None = None


class FusionClient:
    """Sends code to one server.

    Args:
        url: the server's address, without `/run_code`.
        connections: requests under way at once; further ones wait here, not in the server's queue.
        attempts: how often a request is sent before the server counts as failed.
        backoff_seconds: the wait before the second attempt; it doubles with every further one.
        headers: sent with every request, such as an API key.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 64,
        attempts: int = 5,
        backoff_seconds: float = 0.25,
        headers: Mapping[str, str] | None = None,
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
        """Run Python code on the server.

        Args:
            code: the source of a whole program.
            run_timeout: seconds after which the server is to stop it.

        Raises:
            SandboxError: no answer, or none that can be used, after all attempts.
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
        """Read a run from an answer."""
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
                return_code=run.get("return_code"),
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
