"""An HTTP client for servers that queue, restart or fail for a while: a bounded number of requests, and retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

T = TypeVar("T")

_LONGEST_WAIT = 60.0
"""Seconds between two attempts, at most, whatever the server asks for."""


class UnavailableError(Exception):
    """The server did not do it this time.

    Attributes:
        wait: seconds that the server asks to be left alone.
    """

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class NoServerError(UnavailableError):
    """Nobody takes connections at an address where nobody ever did."""


class PatientClient:
    """Posts JSON to one server.

    Args:
        url: the server's address; requests name a route behind it.
        connections: requests under way at once; further ones wait here, not in the server's queue.
        attempts: how often a request is sent before the server counts as failed.
        backoff_seconds: mean wait before the second attempt; it doubles with every further one. It is random, so that
            many requests that failed together do not come back together.
        headers: sent with every request.
        awaits_server: also send again what met nobody, where nobody ever answered.

    Raises:
        httpx.InvalidURL, ValueError: `url` is no address.
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
        # Not the pool's own limit: the pool goes through all requests that wait whenever one ends.
        self._free = asyncio.Semaphore(connections)
        pool = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(base_url=url, limits=pool, headers=headers)

    async def post(
        self, route: str, body: Mapping[str, Any], *, read: Callable[[httpx.Response], T], read_seconds: float
    ) -> T:
        """Send a request until the server has done it.

        Args:
            route: what follows the server's address.
            body: sent as JSON.
            read: makes a result of an answer; `UnavailableError` where the request is worth another attempt.
            read_seconds: longest silence of the server. It may queue a request for long before it runs it.

        Raises:
            UnavailableError: that of the last attempt; `NoServerError` where nobody was ever there.
            httpx.UnsupportedProtocol: the address is none of HTTP's.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception(self._is_worth_another),
            reraise=True,
        )
        async with self._free:
            return await retrying(self._once, route, body, read, read_seconds)

    async def get(self, route: str) -> httpx.Response:
        """Ask once.

        Raises:
            httpx.TransportError: there was no answer.
        """
        return await self._http.get(route)

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._http.aclose()

    async def _once(
        self, route: str, body: Mapping[str, Any], read: Callable[[httpx.Response], T], read_seconds: float
    ) -> T:
        # A connection is taken at once or not at all.
        timeout = httpx.Timeout(10.0, read=read_seconds, pool=None)
        try:
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
    """Somebody else's words on one line of at most 200 characters."""
    return " ".join(text.split())[:200]
