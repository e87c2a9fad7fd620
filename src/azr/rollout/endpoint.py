"""A model behind a server that speaks OpenAI's API, as a generator: it samples, and cannot be trained.

The server keeps weights, tokens and log-probabilities to itself, so a sample is its text alone. Seeds are sent; whether
equal seeds give equal texts is the server's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
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
"""For the length of a prompt, which only the server could tell: fewer than tokenizers of common models put into one."""

_PROBE_TOKENS = 16
"""Some servers refuse to stop a model that reasons after fewer."""

_ENDED = ("stop", "eos_token")
"""What servers call a completion that the model ended itself; text-generation-inference says the latter."""


class EndpointGenerator:
    """Samples from a served model (the `Generator` protocol). Use as a context manager, which tries it out first.

    Args:
        config: names the model and its server, and says how it is asked.
        chat: ask by `/chat/completions`, where the server applies the chat template; else by `/completions`.
        seed: first part of the name of every request's seed.

    Raises:
        UserError: `config` names no served model; on entering, whatever keeps the server from answering.
            Never with the key in it.
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
        """Make a prompt of a text, which the server tokenizes; its length is estimated on the safe side."""
        return Prompt(text, (), -(-len(text.encode()) // BYTES_PER_TOKEN))

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Refuse: OpenAI's API has no call for it.

        Raises:
            UserError: always.
        """
        raise UserError("the weights of a model behind OpenAI's API cannot be changed; set selfplay.learn=false")

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt (see the protocol), by one request where the server can.

        Raises:
            UserError: the server fails or refuses, after as many attempts as configured.
            PromptTooLongError: what is asked for does not fit into the model's context.
        """
        found = await self._ask_for_several(prompt.text, n, key, sampling) if n > 1 and self._several else []
        singles = await gather(self._ask(prompt.text, 1, f"{key}/{row}", sampling) for row in range(len(found), n))
        if n > 1 and singles:
            self._several = False
        return tuple(_sample(choice) for choice in (*found, *(choice for (choice,) in singles)))

    async def _ask_for_several(self, prompt: str, n: int, key: str, sampling: Sampling) -> list[Choice]:
        """As many of n completions as the server gives at once: some ignore `n`, some refuse it."""
        try:
            return await self._ask(prompt, n, key, sampling)
        except RefusedError:  # perhaps for its n; if not, asking for one will be refused as well, and said
            return []

    async def _ask(self, prompt: str, n: int, key: str, sampling: Sampling) -> list[Choice]:
        """One request; from 1 to n choices in the order of their indices."""
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
