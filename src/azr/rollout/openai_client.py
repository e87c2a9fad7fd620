"""A client of OpenAI's `/completions` and `/chat/completions`, which vLLM, SGLang, llama.cpp, Ollama and others speak.

Bounded, patient with a server that is busy or restarting; what it cannot mend is one line that says what to do. The key
comes from the environment, goes into the header of requests, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from azr.errors import UserError
from azr.http_client import NoServerError, PatientClient, UnavailableError, one_line

if TYPE_CHECKING:
    from azr.config import ModelConfig

_BUSY = {408, 429}
"""Statuses below 500 that are worth another attempt."""

_BACKOFF_SECONDS = 0.5
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
        UserError: it is no served model's name.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.served is None:
            raise UserError(f"model {config.name}: not a served model, which is named NAME@http://host:port/v1")
        self._settings = config.endpoint
        self.model, self.url = config.served
        self._key = os.environ.get(self._settings.key_env, "")
        self._http = PatientClient(
            self.url,
            connections=self._settings.connections,
            attempts=self._settings.attempts,
            backoff_seconds=_BACKOFF_SECONDS,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            awaits_server=False,
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
        try:
            seconds = self._settings.timeout_seconds
            answer = await self._http.post(route, body, read=self._settled, read_seconds=seconds)
        except NoServerError as error:
            reason = self._said(str(error))
            raise UserError(f"no server at {self.url} ({reason}); start it, or check the address") from None
        except UnavailableError as error:
            raise UserError(
                f"the server at {self.url} failed {self._settings.attempts} times ({self._said(str(error))}); is it"
                " running and reachable?"
            ) from None
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
        await self._http.close()

    def _settled(self, answer: httpx.Response) -> httpx.Response:
        """An answer that another attempt would not change."""
        if worth_another(answer):
            raise UnavailableError(f"status {answer.status_code}{self._words(answer)}", wait=asked_to_wait(answer))
        return answer

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
            answer = await self._http.get("/models")
            return [str(model["id"]) for model in answer.json()["data"]]
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            return []

    def _words(self, answer: httpx.Response) -> str:
        """What the server says of an error, ready to be put behind a sentence."""
        said = error_message(answer)
        return f": {self._said(said)}" if said else ""

    def _said(self, text: str) -> str:
        """One line of somebody else's words, without the key."""
        return one_line(text.replace(self._key, "***") if self._key else text)


def worth_another(answer: httpx.Response) -> bool:
    """Whether another attempt may succeed: the server is busy, restarting or broken."""
    return answer.status_code >= 500 or answer.status_code in _BUSY


def error_message(answer: httpx.Response) -> str:
    """What a server says of an error, in its own words; empty if it says nothing."""
    try:
        content = answer.json()
        error = content.get("error", content)
        said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        said = None
    return said if isinstance(said, str) else ""


def asked_to_wait(answer: httpx.Response) -> float:
    """Seconds of a `Retry-After`; its other form, a date, is not worth a clock that may differ."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else 0.0


def _choices(content: Any) -> list[Choice]:
    """Read a completion.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not such an answer.
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
