"""A generator for a model behind a server with OpenAI's API: it samples, and cannot be trained.

The server does not share weights, tokens or log-probabilities, so a sample is only text. Seeds are sent; whether equal
seeds give equal texts is up to the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azr.concurrency import gather
from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.rollout.openai_client import Choice, OpenAIClient, RefusedError
from azr.streams import stream
from azr.types import Prompt, Sample

if TYPE_CHECKING:
    from azr.config import ModelConfig

BYTES_PER_TOKEN = 3
"""To estimate the length of a prompt, which only the server knows: fewer than with tokenizers of common models."""

_PROBE_TOKENS = 16  # some servers refuse fewer for a reasoning model
_ENDED = ("stop", "eos_token")
"""Finish reasons of a completion that the model ended itself; the latter is from text-generation-inference."""


class EndpointGenerator:
    """Samples from a served model (the `Generator` protocol). Use as a context manager, which first sends a request.

    Args:
        config: names the model and its server, and has the settings of requests.
        chat: use `/chat/completions`, where the server applies the chat template; else `/completions`.
        seed: first part of the name of every request's seed.

    Raises:
        UserError: `config` names no served model; on entering, the reason why the server does not answer. The message
            never contains the key.
    """

    def __init__(self, config: ModelConfig, *, chat: bool, seed: int) -> None:
        self._client, self._chat, self._seed = OpenAIClient(config), chat, seed
        self._several = True

    async def __aenter__(self) -> EndpointGenerator:
        try:
            await self._ask("Hi", 1, "probe", Sampling(_PROBE_TOKENS))
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def render(self, text: str) -> Prompt:
        """Make a prompt from text, which the server tokenizes; its length is estimated, rather too long."""
        return Prompt(text, (), -(-len(text.encode()) // BYTES_PER_TOKEN))

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Refuse: OpenAI's API has no call for it.

        Raises:
            UserError: always.
        """
        raise UserError("the weights of a model behind OpenAI's API cannot be changed; set selfplay.learn=false")

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt (see the protocol), by one request if the server supports it.

        Raises:
            UserError: the server fails or refuses, after as many attempts as configured.
            PromptTooLongError: prompt and completion do not fit into the model's context.
        """
        found: list[Choice] = []
        if n > 1 and self._several:
            # Some servers ignore n, some refuse it. If they refuse for another reason, they also refuse one completion.
            with suppress(RefusedError):
                found = await self._ask(prompt.text, n, key, sampling)
        singles = await gather(self._ask(prompt.text, 1, f"{key}/{row}", sampling) for row in range(len(found), n))
        if n > 1 and singles:
            self._several = False
        return tuple(_sample(choice) for choice in (*found, *(choice for (choice,) in singles)))

    async def _ask(self, prompt: str, n: int, key: str, sampling: Sampling) -> list[Choice]:
        """Send one request; return 1 to n choices in the order of their indices."""
        asked: dict[str, Any] = (
            {"messages": [{"role": "user", "content": prompt}]} if self._chat else {"prompt": prompt}
        )
        settings = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": int(stream(self._seed, key).integers(2**31)),
        }
        route = "/chat/completions" if self._chat else "/completions"
        return (await self._client.complete(route, asked | settings | ({"n": n} if n > 1 else {})))[:n]


def _sample(choice: Choice) -> Sample:
    return Sample((), (), (), choice.text, choice.finish_reason in _ENDED, choice.tokens)
