"""Rows that several ranks share. Here each rank is a thread with a model of its own; tests/distributed has processes."""

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue

import pytest
import torch

from azr.config import GenerationConfig
from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.rollout.local.generator import make_share, rows_per_rank
from tests.rollout.test_generate import FromText, make, play

ROWS = 16


class Group:
    """What the ranks of a group have in common."""

    def __init__(self, size):
        self.size, self.values = size, [None] * size
        self.meet = threading.Barrier(size)
        self.calls = [SimpleQueue() for _ in range(size)]


class Thread:
    """One rank, as `azr.learn.ranks.Ranks` is one over processes."""

    calling = nullcontext()

    def __init__(self, group, rank):
        self.group, self.rank, self.size = group, rank, group.size

    def call(self, name, *arguments):
        for queue in self.group.calls[1:]:
            queue.put((name, arguments))

    def gather(self, value):
        self.group.values[self.rank] = value
        self.group.meet.wait(30)
        values = list(self.group.values)
        self.group.meet.wait(30)
        return values


@contextmanager
def shared(load, *, size=2, rows=ROWS):
    """A generator over so many ranks, and the decoders of the other ranks."""
    group, config = Group(size), GenerationConfig(max_rows=rows, overlap=False, max_prompt_tokens=100)
    shares = [make_share(load("qwen2"), config, seed=1, ranks=Thread(group, rank)) for rank in range(1, size)]

    def obey(share, queue):
        while (call := queue.get()) is not None:
            try:
                share.decode(*call[1])
            except torch.OutOfMemoryError:
                continue

    threads = [
        threading.Thread(target=obey, args=pair, daemon=True) for pair in zip(shares, group.calls[1:], strict=True)
    ]
    for thread in threads:
        thread.start()
    yield FromText(load("qwen2"), config, seed=1, ranks=Thread(group, 0)), [share._decoder for share in shares]
    for queue in group.calls[1:]:
        queue.put(None)
    for thread in threads:
        thread.join(30)


def admitted(decoder):
    """How many rows a decoder takes from now on, by the key of their ticket."""
    found, admit = Counter(), decoder.admit

    def noting(tickets):
        found.update({ticket.key: len(ticket.rows) for ticket in tickets})
        return admit(tickets)

    decoder.admit = noting
    return found


@pytest.mark.parametrize("size", [2, 3])
async def test_ranks_draw_the_samples_that_one_process_draws(load, size):
    with shared(load, size=size) as (generator, _):
        found = await play(generator)
    alone = await play(make(load("qwen2")))
    assert [s.completion_ids for s in found] == [s.completion_ids for s in alone]
    for own, other in zip(found, alone, strict=True):
        torch.testing.assert_close(torch.tensor(own.logprobs), torch.tensor(other.logprobs), atol=1e-5, rtol=0)


async def test_equal_requests_are_answered_bit_for_bit_as_before(load):
    runs = []
    for _ in range(2):
        with shared(load) as (generator, _):
            runs.append(await play(generator))
    assert runs[0] == runs[1]


async def test_a_ticket_goes_to_the_rank_with_the_fewest_rows(load):
    with shared(load) as (generator, (decoder,)):
        own, other = admitted(generator._decoder), admitted(decoder)
        await asyncio.gather(
            *(
                generator.sample("a", n=n, key=key, sampling=Sampling(40))
                for key, n in {"a": 3, "b": 1, "c": 1, "d": 2}.items()
            )
        )
    assert (own, other) == ({"a": 3}, {"b": 1, "c": 1, "d": 2})


async def test_on_a_cpu_ranks_divide_the_rows_that_may_be_in_flight(load):
    policy, config = load("qwen2"), GenerationConfig(max_rows=9)
    assert rows_per_rank(policy, config, None) == 9
    assert rows_per_rank(policy, config, Thread(Group(2), 0)) == 5


async def test_rows_that_nobody_waits_for_leave_all_ranks(load):
    with shared(load) as (generator, (decoder,)):
        tasks = [asyncio.create_task(generator.sample("ab", n=2, key=f"k{i}", sampling=Sampling(90))) for i in range(4)]
        while not decoder.rows:  # noqa: ASYNC110 - the decoder, in its thread, knows no event loop
            await asyncio.sleep(0)
        for task in tasks[:3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [len(result) for result in results if not isinstance(result, BaseException)] == [2]
        await generator.sample("a", n=1, key="after", sampling=Sampling(3))
        assert (generator._batch.rows, generator._decoder.rows, decoder.rows) == (0, 0, 0)


@pytest.mark.parametrize("rank", [0, 1])
async def test_memory_that_runs_out_on_one_rank_is_one_line_and_the_generator_remains_usable(load, rank):
    with shared(load) as (generator, others):
        decoder = [generator._decoder, *others][rank]
        working, decoder.run = decoder.run, _out_of_memory
        with pytest.raises(UserError, match=f"lower generation.max_rows \\(now {ROWS}\\)"):
            await asyncio.gather(*(generator.sample("a", n=2, key=k, sampling=Sampling(40)) for k in "abc"))
        decoder.run = working
        samples = await generator.sample("a", n=2, key="k", sampling=Sampling(30))
        assert samples == await make(load("qwen2")).sample("a", n=2, key="k", sampling=Sampling(30))
        assert [one.rows for one in (generator._decoder, *others)] == [0, 0]


async def test_after_a_failure_no_rank_keeps_rows(load):
    with shared(load) as (generator, (decoder,)):
        waiting = asyncio.ensure_future(
            asyncio.gather(*(generator.sample("ab", n=2, key=k, sampling=Sampling(90)) for k in "ab"))
        )
        while not decoder.rows:  # noqa: ASYNC110
            await asyncio.sleep(0)
        generator._driver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        (after,) = await generator.sample("abc", n=1, key="k", sampling=Sampling(30))
        (alone,) = await make(load("qwen2")).sample("abc", n=1, key="k", sampling=Sampling(30))
        assert after.completion_ids == alone.completion_ids
        assert decoder.rows == 0


def _out_of_memory(most):
    raise torch.OutOfMemoryError("CUDA out of memory")
