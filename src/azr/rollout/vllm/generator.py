"""The generator over vLLM servers: it samples there, and sends them the learner's weights."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from azr.concurrency import gather
from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.rollout.vllm.pool import Pool
from azr.rollout.vllm.server import Drawn, LostServerError, Request, VLLMServer
from azr.streams import stream
from azr.types import Prompt, Sample

if TYPE_CHECKING:
    from torch import Tensor

    from azr.config import GenerationConfig
    from azr.models.load import LanguageModel

PROBE_PROMPT, PROBE_TOKENS = 16, 32
"""Tokens that a probe reads, evenly spaced over the vocabulary, and tokens that it samples."""

Score = Callable[[Sequence[int], Sequence[int]], Awaitable[Sequence[float]]]
"""Log-probabilities that the learner's model gives to a completion's tokens, after a prompt's, as it is now."""

Plain = Callable[[Mapping[str, "Tensor"]], Iterable[tuple[str, "Tensor"]]]
"""Converts the learner's weights to what a Hugging Face folder of the model has."""


class Sync(Protocol):
    """A way to give servers new weights."""

    async def send(self, pool: Pool, label: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Give all servers new weights, under a new label; those that do not answer are lost."""
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


class VLLMGenerator:
    """Samples on vLLM servers (the `Generator` protocol). Use as a context manager, which meets the servers.

    Weights have labels that name the run and the version, so that a sample from any other weights is noticed: those of
    another run, or of a server that was started anew.

    Args:
        policy: the learner's model; its weights are sent before the first sample, unless others were.
        config: addresses, limits, temperature.
        servers: one for each address.
        sync: how weights are sent.
        plain: see `Plain`.
        score: see `Score`; never called while the learner updates.
        seed: first part of the name of every random stream.
    """

    def __init__(
        self,
        policy: LanguageModel,
        config: GenerationConfig,
        servers: Sequence[VLLMServer],
        *,
        sync: Sync,
        plain: Plain,
        score: Score,
        seed: int,
    ) -> None:
        self._policy, self._config, self._seed = policy, config, seed
        self._pool, self._sync, self._plain, self._score = Pool(servers), sync, plain, score
        self._run = f"azr-{uuid.uuid4().hex[:12]}"
        self._version: int | None = None
        self._first = asyncio.Lock()

    async def __aenter__(self) -> VLLMGenerator:
        config = self._config
        longest = config.max_prompt_tokens + max(config.max_propose_tokens, config.max_solve_tokens)
        mode = "raw_logprobs" if config.top_p < 1 else None if config.temperature == 1 else "processed_logprobs"
        try:
            await gather(self._meet(server, longest, mode) for server in self._pool.servers)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt (see the protocol), all by one server, which reads the prompt once.

        Raises:
            UserError: no server is left, or one refuses the request.
        """
        async with self._first:
            if self._version is None:
                await self.update_weights(0, self._policy.model.state_dict())
        server = self._pool.least_busy(n)
        return tuple(await gather(self._row(server, prompt, key, row, sampling) for row in range(n)))

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Send weights to all servers, and check that they sample from them (see the protocol).

        Raises:
            UserError: no server is left, one refuses, or one's log-probabilities are not the learner's.
        """
        self._version = version  # from now on, since a server may answer with it before the others have it
        await self._sync.send(self._pool, self._label(version), self._plain(weights))
        await self._pool.with_each(self._probe)

    async def _meet(self, server: VLLMServer, longest: int, mode: str | None) -> None:
        try:
            await server.meet(longest=longest, logprobs_mode=mode, stale=self._config.max_staleness > 0)
        except LostServerError as error:
            raise UserError(
                f"no vLLM server answers at {server.url} ({error}); start it with azr serve, or check generation.urls"
            ) from None

    async def _row(self, server: VLLMServer, prompt: Prompt, key: str, row: int, sampling: Sampling) -> Sample:
        """One completion, from the server or, if that is lost, from others until one gives it."""
        request = Request(
            prompt_ids=prompt.token_ids,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=int(stream(self._seed, key, row).integers(2**63)),
            stop_ids=self._policy.eos_ids,
        )
        while True:
            try:
                drawn = await server.draw(request)
                version = self._version_of(drawn, stale=self._config.max_staleness)
            except LostServerError as error:
                self._pool.lose(server, str(error))
            else:
                text = self._policy.decode(drawn.completion_ids)
                ended = drawn.completion_ids[-1] in self._policy.eos_ids
                return Sample(prompt.token_ids, drawn.completion_ids, drawn.logprobs, text, ended, version=version)
            finally:
                server.outstanding -= 1
            server = self._pool.least_busy(1)

    def _label(self, version: int) -> str:
        return f"{self._run}-{version}"

    def _version_of(self, drawn: Drawn, *, stale: int = 0) -> int:
        """The version of the oldest weights that sampled a part of a completion.

        Raises:
            LostServerError: they are not this run's, or older than the newest by more than `stale` versions.
        """
        assert self._version is not None
        versions = range(self._version, max(0, self._version - stale) - 1, -1)
        expected = {self._label(version): version for version in versions}
        if odd := [label for label in drawn.labels if label not in expected]:
            raise LostServerError(
                f"it sampled from weights {odd[0]} instead of {self._label(self._version)}: it was started anew, or"
                " serves another run"
            )
        return min(expected[label] for label in drawn.labels)

    async def _probe(self, server: VLLMServer) -> None:
        """Compare a server's log-probabilities of what it samples with the learner's.

        Raises:
            UserError: they differ by more than the tolerance.
        """
        config, tokens = self._config, self._policy.model.get_input_embeddings().weight.shape[0]
        prompt_ids = np.linspace(tokens // 4, tokens // 2, PROBE_PROMPT).astype(int).tolist()
        seed = int(stream(self._seed, "probe", self._version or 0).integers(2**63))
        drawn = await server.draw(Request(prompt_ids, PROBE_TOKENS, config.temperature, config.top_p, seed, ()))
        self._version_of(drawn)
        own = np.asarray(await self._score(prompt_ids, drawn.completion_ids))
        found = float(np.abs(np.asarray(drawn.logprobs) - own).mean())
        if not found <= (most := self._tolerance()):
            raise UserError(
                f"vLLM at {server.url} does not sample from weights {self._version}: its log-probabilities of a probe"
                f" differ from the learner's by {found:.2g} nats on average (at most {most:.2g});"
                " check that it serves this model; if its embeddings are tied, serve a copy with"
                " tie_word_embeddings=false; if the engines only round differently, raise generation.probe_tolerance"
            )

    def _tolerance(self) -> float:
        if self._config.probe_tolerance is not None:
            return self._config.probe_tolerance
        return 0.001 if str(self._policy.model.dtype) == "torch.float32" else 0.05

    async def _close(self) -> None:
        await self._sync.close()
        await self._pool.close()
