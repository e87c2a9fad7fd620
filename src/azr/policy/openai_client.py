"""A client of OpenAI's `/completions` and `/chat/completions`, which vLLM, SGLang, llama.cpp, Ollama and others speak.

Bounded, patient with a server that is busy or restarting; what it cannot mend is one line that says what to do. The key
comes from the environment, goes into the header of requests, and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azr.errors import UserError

if TYPE_CHECKING:
    import httpx

    from azr.config import ModelConfig

_BUSY = {408, 429}
"""Statuses below 500 that are worth another attempt."""

_BACKOFF_SECONDS, _LONGEST_WAIT = 0.5, 60.0
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)|exceed_context|maximum context", re.IGNORECASE)


class RefusedError(UserError):
    """The server will not do it, however often it is asked."""


class PromptTooLongError(RefusedError):
    """Prompt and completion do not fit into the model's context."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion.

    Attributes:
        text: what was written; empty where a chat model gave no answer (it may have reasoned to the limit).
        finish_reason: as the server names it.
        tokens: how many were sampled, where the server tells it of this one.
    """

    text: str
    finish_reason: str | None
    tokens: int | None


class OpenAIClient:
    """Asks one server for completions of one model.

    Args:
        config: the model's name is that of a served one; `endpoint` says how it is asked.

    Raises:
        UserError: it is no served model's name, or httpx is not installed.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.served is None:
            raise UserError(f"model {config.name}: not a served model, which is named NAME@http://host:port/v1")
        try:
            import httpx
        except ImportError:
            raise UserError(f"model {config.name}: a served model needs the extra: pip install 'azr[remote]'") from None
        self._httpx, self._settings = httpx, config.endpoint
        self.model, self.url = config.served
        self._key = os.environ.get(self._settings.key_env, "")
        self._met = False
        # Not the pool's own limit: the pool goes through all requests that wait whenever one ends.
        self._free = asyncio.Semaphore(self._settings.connections)
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._settings.connections),
            timeout=httpx.Timeout(10.0, read=self._settings.timeout_seconds, pool=None),
        )

    async def complete(self, route: str, request: Mapping[str, Any]) -> list[Choice]:
        """Send one request.

        Args:
            route: `/completions` or `/chat/completions`.
            request: its fields, but for the model's name.

        Returns:
            at least one choice, in the order of their indices.

        Raises:
            UserError: no answer, or none that can be used, after all attempts.
            RefusedError: the server does not do this; `PromptTooLongError` where that is why.
        """
        body = {"model": self.model, **request}
        async with self._free:
            answer = await self._patiently(route, body)
        if answer.status_code != 200:
            raise await self._refusal(route, answer)
        try:
            return _choices(answer.json())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"the server at {self.url} does not answer {route} as OpenAI's does; is the address right? It usually"
                " ends in /v1"
            ) from None

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._http.aclose()

    async def _patiently(self, route: str, body: Mapping[str, Any]) -> httpx.Response:
        """An answer that another attempt would not change."""
        failure, attempts = "", self._settings.attempts
        for attempt in range(attempts):
            try:
                answer = await self._http.post(f"{self.url}{route}", json=body)
            except self._httpx.TransportError as error:
                failure, wait = self._said(str(error)) or type(error).__name__, 0.0
                if not self._met and isinstance(error, self._httpx.ConnectError):
                    raise UserError(f"no server at {self.url} ({failure}); start it, or check the address") from None
            else:
                self._met = True
                if answer.status_code < 500 and answer.status_code not in _BUSY:
                    return answer
                failure, wait = f"status {answer.status_code}{self._words(answer)}", _asked_to_wait(answer)
            if attempt + 1 < attempts:
                # Jittered, so that many requests that failed together do not come back together.
                pause = _BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1.5)
                await asyncio.sleep(min(max(wait, pause), _LONGEST_WAIT))
        raise UserError(f"the server at {self.url} failed {attempts} times ({failure}); is it running and reachable?")

    async def _refusal(self, route: str, answer: httpx.Response) -> RefusedError:
        """Why the server will not do it, and what to do."""
        status, words = answer.status_code, self._words(answer)
        if status in (401, 403):
            variable = self._settings.key_env
            given = f"the key in {variable}" if self._key else f"requests without a key; put one into {variable}"
            return RefusedError(f"the server at {self.url} refuses {given} (status {status})")
        if _TOO_LONG.search(words):
            return PromptTooLongError(f"model {self.model}: a prompt and its answer exceed the model's context{words}")
        known = await self._models()
        if known and self.model not in known:
            return RefusedError(f"the server at {self.url} has no model {self.model}; it has {', '.join(known[:8])}")
        if status in (404, 405):
            other = "in another style than chat" if "chat" in route else "in the style chat"
            return RefusedError(f"the server at {self.url} has no {route}{words}; check the address, or ask {other}")
        return RefusedError(f"the server at {self.url} refuses {route} with status {status}{words}")

    async def _models(self) -> list[str]:
        """Names of the models that the server has; none where it does not tell."""
        try:
            answer = await self._http.get(f"{self.url}/models")
            return [str(model["id"]) for model in answer.json()["data"]]
        except (self._httpx.TransportError, ValueError, KeyError, TypeError):
            return []

    def _words(self, answer: httpx.Response) -> str:
        """What the server says of an error, ready to be put behind a sentence."""
        try:
            content = answer.json()
            error = content.get("error", content)
            said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        except (ValueError, AttributeError):
            said = None
        return f": {self._said(said)}" if isinstance(said, str) and said else ""

    def _said(self, text: str) -> str:
        """One line of somebody else's words, without the key."""
        line = " ".join(text.split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


def _asked_to_wait(answer: httpx.Response) -> float:
    """Seconds of a `Retry-After`; its other form, a date, is not worth a clock that may differ."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else 0.0


def _choices(content: Any) -> list[Choice]:
    """Read a completion.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    found = content["choices"]
    if not found or not all(isinstance(choice, dict) for choice in found):
        raise ValueError("no choices")
    if all(isinstance(choice.get("index"), int) for choice in found):
        found = sorted(found, key=lambda choice: choice["index"])
    # Usage is that of all choices together.
    counted = (content.get("usage") or {}).get("completion_tokens") if len(found) == 1 else None
    tokens = counted if isinstance(counted, int) else None
    return [Choice(_text(choice), choice.get("finish_reason"), tokens) for choice in found]


def _text(choice: Mapping[str, Any]) -> str:
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    if not isinstance(text, str | None):
        raise TypeError("not a text")
    return text or ""
