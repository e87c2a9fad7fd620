"""The in-process generator: an asynchronous service over one `Decoder` for many coroutines at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azr.concurrency import Crew, current_member
from azr.errors import UserError
from azr.models.failures import out_of_memory
from azr.models.load import LanguageModel
from azr.rollout.base import Sampling
from azr.rollout.local.batch import Batch, OwnBatch, Peers, Share, SharedBatch
from azr.rollout.local.decode import Decoder, Finished, Ticket
from azr.types import Prompt, Sample

if TYPE_CHECKING:
    from azr.config import GenerationConfig


ROUND = 16
"""Decoding steps between two admissions without overlap. Fewer: shorter tails, and more waiting for the sandbox."""


@dataclass(slots=True, eq=False)
class _Request:
    """One call of `sample`: open until it is answered, fails or is cancelled."""

    tickets: list[Ticket]
    answer: asyncio.Future[tuple[Sample, ...]]
    samples: dict[int, Sample]
    n: int
    crew: Crew | None

    @property
    def open(self) -> bool:
        return not self.answer.done()

    def reply(self) -> None:
        """Answer, if all rows are there and somebody still waits."""
        if self.open and len(self.samples) == self.n:
            self.answer.set_result(tuple(self.samples[row] for row in range(self.n)))


class LocalGenerator:
    """Samples from a model in this process (the `Generator` protocol).

    With `overlap = false` samples on a CPU are equal bit for bit in every run, because batches are a function of the
    requests alone. Generation starts when all coroutines that were started together wait (`azr.concurrency`), and takes
    their requests in the order of their keys. Every `ROUND` decoding steps, finished requests are answered, and what
    their coroutines ask for next joins one round later. So the sandbox works while other rows decode; if it takes
    longer than a round, decoding waits for it.

    With `overlap = true` new rows join between two decoding steps, and an answer goes out as soon as it is whole. In
    both, forward passes run in one thread of their own, so that the event loop stays free.

    Args:
        policy: the model; its weights must not change while a sample is awaited.
        config: limits; `overlap = None` means overlap except on a CPU.
        seed: first part of the name of every random stream.
        ranks: processes that share the rows, each with the same weights; None: this one alone. The others decode in
            `make_share`.
    """

    def __init__(
        self, policy: LanguageModel, config: GenerationConfig, *, seed: int, ranks: Peers | None = None
    ) -> None:
        self._policy, self._config = policy, config
        self.overlap = policy.device.type != "cpu" if config.overlap is None else config.overlap
        self._max_rows = rows_per_rank(policy, config, ranks)
        self._decoder = Decoder(policy, max_rows=self._max_rows, seed=seed)
        self._batch: Batch = OwnBatch(self._decoder)
        if ranks is not None:
            self._batch = SharedBatch(Share(self._decoder, ranks), ranks)
        # Every turn of several processes begins and ends with a message.
        self._steps = 1 if self.overlap and ranks is None else ROUND
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="azr-generate")
        self._arrived: list[_Request] = []  # not yet seen by the driver
        self._taken: list[_Request] = []  # being worked on
        self._requests: dict[Ticket, _Request] = {}
        self._driver: asyncio.Task[None] | None = None
        self._start_due = False
        self._news = asyncio.Event()  # a request has arrived, or a coroutine has ended
        self._version = 0

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt (see the protocol).

        A prompt is read once per max_rows of its rows, in each process.

        Raises:
            ValueError: n or the token limit is below 1, or the prompt is empty or does not fit.
        """
        self._check(prompt, n=n, sampling=sampling)
        member = current_member()
        answer: asyncio.Future[tuple[Sample, ...]] = asyncio.get_running_loop().create_future()
        most = self._max_rows
        parts = [range(first, min(first + most, n)) for first in range(0, n, most)]
        tickets = [Ticket(prompt.token_ids, key, rows, sampling) for rows in parts]
        self._arrived.append(_Request(tickets, answer, {}, n, member.crew if member else None))
        if member is not None:
            member.crew.watchers.add(self._start_soon)
            member.answers.add(answer)
        self._start_soon()
        try:
            return await answer
        finally:
            if member is not None:
                member.answers.discard(answer)

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Sample from other weights from now on (see the protocol).

        A learner of the same `LanguageModel` has already changed them; then only the version is new.

        Raises:
            RuntimeError: the weights are not those of this model.
        """
        # Not the state dict, whose tensors are made anew for weights in 4 bits.
        own = dict(self._policy.model.named_parameters())
        if any(weights[name].data_ptr() != tensor.data_ptr() for name, tensor in own.items() if name in weights):
            self._policy.model.load_state_dict(weights)
        self._version = version

    def _check(self, prompt: Prompt, *, n: int, sampling: Sampling) -> None:
        if n < 1 or sampling.max_new_tokens < 1:
            raise ValueError(f"n = {n} and max_new_tokens = {sampling.max_new_tokens} must both be at least 1")
        length, context = len(prompt.token_ids), self._policy.context_length
        if not 0 < length <= self._config.max_prompt_tokens:
            raise ValueError(f"a prompt of {length} tokens; from 1 to {self._config.max_prompt_tokens} are allowed")
        if context is not None and length + sampling.max_new_tokens > context:
            raise ValueError(
                f"{length} prompt tokens and {sampling.max_new_tokens} new ones exceed the model's context of {context}"
            )

    def _start_soon(self) -> None:
        """Start if possible, but only after everything that is ready to run has run.

        Otherwise the first of several coroutines that were started together would start alone.
        """
        self._news.set()
        if self._arrived and not self._start_due:
            self._start_due = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._start_due = False
        if self._driver is None and self._arrived and (self.overlap or self._everybody_waits()):
            self._driver = asyncio.get_running_loop().create_task(self._drive())

    def _everybody_waits(self) -> bool:
        crews = {request.crew for request in (*self._arrived, *self._taken) if request.crew is not None}
        return all(crew.waits() for crew in crews)

    async def _drive(self) -> None:
        """Decode until nobody waits."""
        loop = asyncio.get_running_loop()
        try:
            self._take()
            while any(request.open for request in self._taken):
                for finished, sample in await loop.run_in_executor(self._thread, self._advance, self._batch):
                    self._requests[finished.ticket].samples[finished.row] = sample
                self._forget_cancelled()
                while not self.overlap and not self._everybody_waits():
                    self._news.clear()
                    await self._news.wait()
                self._take()
                self._reply()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._driver = None
            self._start_soon()

    def _take(self) -> None:
        new = sorted((r for r in self._arrived if r.open), key=lambda request: request.tickets[0].key)
        self._arrived.clear()
        self._taken += new
        for request in new:
            self._batch.add(request.tickets)
            self._requests.update(dict.fromkeys(request.tickets, request))

    def _advance(self, batch: Batch) -> list[tuple[Finished, Sample]]:
        """One turn, in the generator's thread: a round of decoding steps, or one step with overlap."""
        rows = batch.rows
        try:
            finished = batch.turn(self._steps)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise UserError(
                    f"out of memory with up to {min(rows, self._config.max_rows)} sequences in flight; lower"
                    f" generation.max_rows (now {self._config.max_rows}), or max_prompt_tokens, max_propose_tokens and"
                    " max_solve_tokens"
                ) from error
            raise
        return [(row, self._sample(row)) for row in finished]

    def _sample(self, row: Finished) -> Sample:
        text = self._policy.decode(row.completion_ids)
        return Sample(row.ticket.prompt_ids, row.completion_ids, row.logprobs, text, row.ended, version=self._version)

    def _forget_cancelled(self) -> None:
        if all(request.open for request in self._taken):
            return
        self._batch.drop(lambda ticket: not self._requests[ticket].open)
        self._release()

    def _reply(self) -> None:
        for request in self._taken:
            request.reply()
        self._release()

    def _release(self) -> None:
        self._taken = [request for request in self._taken if request.open]
        self._requests = {ticket: request for request in self._taken for ticket in request.tickets}

    def _fail(self, error: BaseException) -> None:
        """End all requests, and reset the decoder after a running pass has ended."""
        for request in (*self._taken, *self._arrived):
            if request.open and isinstance(error, Exception):
                request.answer.set_exception(error)
            elif request.open:
                request.answer.cancel()
        self._arrived.clear()
        self._batch = self._batch.restarted()
        self._release()
        self._thread.submit(self._batch.reset)


def rows_per_rank(policy: LanguageModel, config: GenerationConfig, ranks: Peers | None) -> int:
    """How many rows each process decodes at once: on GPUs max_rows, on a CPU its share of them."""
    return config.max_rows if ranks is None or policy.device.type != "cpu" else -(-config.max_rows // ranks.size)


def make_share(policy: LanguageModel, config: GenerationConfig, *, seed: int, ranks: Peers) -> Share:
    """What a process other than rank 0 decodes with; its `decode` carries out rank 0's calls of that name."""
    return Share(Decoder(policy, max_rows=rows_per_rank(policy, config, ranks), seed=seed), ranks)
