"""An HTTP client with bounded concurrency and retries, for servers that queue, restart or fail temporarily."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

T = TypeVar("T")

_LONGEST_WAIT = 60.0
"""Maximum seconds between two attempts, even if the server asks for more."""


class UnavailableError(Exception):
    """A request failed, but another attempt may succeed.

    Attributes:
        wait: seconds that the server asks to wait before the next attempt.
    """

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class NoServerError(UnavailableError):
    """The address refuses connections, and never answered before."""


class PatientClient:
    """Posts JSON to one server.

    Args:
        url: the server's address; requests name a route behind it.
        connections: concurrent requests, at most; others wait in this client, not in the server's queue.
        attempts: attempts per request, at most.
        backoff_seconds: mean wait before the second attempt; it doubles with each further one. Waits are random, so
            that requests that failed together are not repeated together.
        headers: sent with every request.
        awaits_server: also retry if the address refuses connections and never answered before.

    Raises:
        httpx.InvalidURL, ValueError: `url` is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        attempts: int,
        backoff_seconds: float,
        headers: Mapping[str, str] | None = None,
        awaits_server: bool,
    ) -> None:
        self._attempts, self._awaits_server, self._met = attempts, awaits_server, False
        self._backoff = wait_random_exponential(multiplier=2 * backoff_seconds, max=_LONGEST_WAIT)
        # Not the pool's own limit: the pool scans all waiting requests whenever one ends.
        self._free = asyncio.Semaphore(connections)
        pool = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(base_url=url, limits=pool, headers=headers)

    async def post(
        self, route: str, body: Mapping[str, Any] | bytes, *, read: Callable[[httpx.Response], T], read_seconds: float
    ) -> T:
        """Send a request, with retries.

        Args:
            route: path below the server's address.
            body: sent as JSON; bytes are JSON already.
            read: converts a response to a result; raises `UnavailableError` if the request should be retried.
            read_seconds: read timeout; generous, since the server may queue a request.

        Raises:
            UnavailableError: the last attempt failed; `NoServerError` if the address never answered.
            httpx.UnsupportedProtocol: the address is not HTTP.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception(self._is_worth_another),
            reraise=True,
        )
        async with self._free:
            return await retrying(self._once, route, body, read, read_seconds)

    async def get(self, route: str, *, read_seconds: float = 5.0) -> httpx.Response:
        """Send a GET request, without retries.

        Raises:
            httpx.TransportError: there was no response.
        """
        return await self._http.get(route, timeout=httpx.Timeout(10.0, read=read_seconds))

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._http.aclose()

    async def _once(
        self, route: str, body: Mapping[str, Any] | bytes, read: Callable[[httpx.Response], T], read_seconds: float
    ) -> T:
        # The semaphore bounds connections, so the pool never makes a request wait.
        timeout = httpx.Timeout(10.0, read=read_seconds, pool=None)
        try:
            if isinstance(body, bytes):
                kind = {"Content-Type": "application/json"}
                answer = await self._http.post(route, content=body, headers=kind, timeout=timeout)
            else:
                answer = await self._http.post(route, json=body, timeout=timeout)
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TransportError as error:
            unmet = isinstance(error, httpx.ConnectError) and not self._met
            raise (NoServerError if unmet else UnavailableError)(str(error) or type(error).__name__) from None
        self._met = True
        return read(answer)

    def _is_worth_another(self, error: BaseException) -> bool:
        return isinstance(error, UnavailableError) and (self._awaits_server or not isinstance(error, NoServerError))

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        asked = error.wait if isinstance(error, UnavailableError) else 0.0
        return min(max(asked, self._backoff(state)), _LONGEST_WAIT)


def one_line(text: str) -> str:
    """Text from a server on one line of at most 200 characters."""
    return " ".join(text.split())[:200]
