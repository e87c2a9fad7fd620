"""The generator over a Tinker service: it samples from snapshots of the weights that learn there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.rollout.tinker.data import datum, logprobs_of
from azr.streams import stream
from azr.types import Prompt, Sample

if TYPE_CHECKING:
    from azr.config import GenerationConfig
    from azr.models.load import LanguageModel
    from azr.rollout.tinker.service import TinkerService

PROBE_PROMPT, PROBE_TOKENS = 16, 32
"""Tokens that a probe reads, evenly spaced over the vocabulary, and tokens that it samples."""

_TOLERANCE = 0.1
"""Largest mean difference (nats) between sampler and learner on a probe, without `generation.probe_tolerance`."""


class TinkerGenerator:
    """Samples on a Tinker service (the `Generator` protocol).

    Each update makes a new sampler, which is a snapshot: a sample belongs to one version, even if it is still being
    drawn when the next weights come.

    Args:
        service: the session.
        text: the tokenizer.
        config: limits and temperature.
        seed: first part of the name of every request's seed.
        learns: whether the model is trained; else the base model is sampled.
    """

    def __init__(
        self, service: TinkerService, text: LanguageModel, config: GenerationConfig, *, seed: int, learns: bool
    ) -> None:
        self._service, self._text, self._config, self._seed = service, text, config, seed
        self._learns, self._version = learns, 0
        self._sampler: Any = None
        self._first, self._free = asyncio.Lock(), asyncio.Semaphore(config.max_rows)

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt (see the protocol) by one request, which the service seeds as a whole.

        Raises:
            UserError: the service fails, or answers with something that cannot be learnt from.
        """
        async with self._first:
            if self._sampler is None:
                await self.update_weights(0, {})
        async with self._free:
            sampler, version = self._sampler, self._version
            sequences = await self._draw(sampler, prompt.token_ids, n, key, sampling, stop=self._text.eos_ids)
        return tuple(self._sample(prompt, sequence, version) for sequence in sequences)

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Sample from a snapshot of the service's weights from now on; `weights` is empty, for they are there.

        Raises:
            UserError: the service fails, or does not sample from the weights that it learns.
        """
        sampler = await self._service.sampler(learns=self._learns)
        if self._learns:
            await self._probe(sampler, version)
        self._sampler, self._version = sampler, version

    async def _draw(
        self, sampler: Any, prompt_ids: Any, n: int, key: str, sampling: Sampling, *, stop: tuple[int, ...]
    ) -> Any:
        from tinker import types

        request = sampler.sample(
            types.ModelInput.from_ints([int(token) for token in prompt_ids]),
            n,
            types.SamplingParams(
                max_tokens=sampling.max_new_tokens,
                seed=int(stream(self._seed, key).integers(2**31)),
                stop=list(stop),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
            ),
        )
        sequences = (await self._service.done(request, cancels=True)).sequences
        if len(sequences) != n:
            raise self._odd(f"{len(sequences)} completions instead of {n}")
        return sequences

    def _sample(self, prompt: Prompt, sequence: Any, version: int) -> Sample:
        completion_ids, logprobs = tuple(sequence.tokens), tuple(sequence.logprobs or ())
        if len(logprobs) != len(completion_ids):
            raise self._odd("tokens without their log-probabilities")
        ended = bool(completion_ids) and completion_ids[-1] in self._text.eos_ids
        if not completion_ids or (sequence.stop_reason == "stop" and not ended):
            raise self._odd("a completion without the token that ended it")
        text = self._text.decode(completion_ids)
        return Sample(prompt.token_ids, completion_ids, logprobs, text, ended, version=version)

    async def _probe(self, sampler: Any, version: int) -> None:
        """Compare the sampler's log-probabilities of what it samples with the learner's.

        Raises:
            UserError: they differ by more than the tolerance.
        """
        tokens, config = len(self._text.tokenizer), self._config
        prompt_ids = np.linspace(tokens // 4, tokens // 2, PROBE_PROMPT).astype(int).tolist()
        sampling = Sampling(PROBE_TOKENS, config.temperature, config.top_p)
        (drawn,) = await self._draw(sampler, prompt_ids, 1, f"probe/{version}", sampling, stop=())
        training = await self._service.training()
        output = await self._service.done(training.forward([datum(prompt_ids, drawn.tokens)], "cross_entropy"))
        own = logprobs_of(output, 0, len(drawn.tokens))
        found = float(np.abs(np.asarray(drawn.logprobs) - own).mean())
        most = config.probe_tolerance or _TOLERANCE
        if not found <= most:
            raise UserError(
                f"the Tinker service at {self._service.url} does not sample from weights {version}: its"
                f" log-probabilities of a probe differ from the learner's by {found:.2g} nats on average (at most"
                f" {most:.2g}); if sampler and learner only round differently there, raise generation.probe_tolerance"
            )

    def _odd(self, what: str) -> UserError:
        return UserError(
            f"the Tinker service at {self._service.url} answered with {what}, which cannot be learnt from; check that"
            " model.tokenizer is the model's own, and that the server returns sampled tokens unchanged"
        )
