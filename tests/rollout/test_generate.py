"""The generator: exact, independent of its batches, and fair to everyone who waits."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from azr.concurrency import gather
from azr.config import GenerationConfig
from azr.errors import UserError
from azr.models.load import wrap
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.rollout.local.sampling import draw
from azr.streams import stream
from tests.learners import plain_logprobs

PROMPTS = ["a", "def f(x):", "12 + 30 =", "x" * 40, "\n", "zz"]


class FromText(LocalGenerator):
    """Takes a prompt as text."""

    async def sample(self, prompt, **settings):
        return await super().sample(self._policy.renderer(chat=False)(prompt), **settings)


def make(policy, *, rows=64, overlap=False, seed=1):
    config = GenerationConfig(max_rows=rows, overlap=overlap, max_prompt_tokens=100)
    return FromText(policy, config, seed=seed)


async def play(generator, order=range(12)):
    """Twelve coroutines of two requests each, the second depending on the first; samples in order of their numbers."""

    async def episode(i):
        first = await generator.sample(PROMPTS[i % 6], n=1 + i % 3, key=f"a{i:02}", sampling=Sampling(40))
        prompt = "?" + first[0].text[:7]
        return first + await generator.sample(prompt, n=3, key=f"b{i:02}", sampling=Sampling(25, temperature=0.7))

    order = list(order)
    samples = await gather(map(episode, order))
    return [drawn for _, of in sorted(zip(order, samples, strict=True), key=lambda pair: pair[0]) for drawn in of]


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("overlap", [False, True])
async def test_log_probabilities_equal_a_plain_forward_pass_while_rows_join_and_leave(load, architecture, overlap):
    policy = load(architecture)
    samples = await play(make(policy, rows=7, overlap=overlap))
    assert len({len(sample.completion_ids) for sample in samples}) > 10
    for index, sample in enumerate(samples):
        temperature = 0.7 if sample.prompt_ids[0] == policy.encode("?")[0] else 1.0
        plain = plain_logprobs(policy, sample.prompt_ids, sample.completion_ids, temperature)
        torch.testing.assert_close(torch.tensor(sample.logprobs), plain, atol=1e-5, rtol=0, msg=f"sample {index}")


async def test_a_sliding_window_is_kept_while_rows_join_and_leave(policy):
    config = policy.model.config
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["sliding_attention", "full_attention"]
    policy = wrap(type(policy.model)(config), policy.tokenizer)
    for sample in await play(make(policy, rows=7), range(4)):
        temperature = 0.7 if sample.prompt_ids[0] == policy.encode("?")[0] else 1.0
        plain = plain_logprobs(policy, sample.prompt_ids, sample.completion_ids, temperature)
        torch.testing.assert_close(torch.tensor(sample.logprobs), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [2, 5, 200])
@pytest.mark.parametrize("overlap", [False, True])
async def test_neither_batch_size_nor_overlap_changes_a_sample(policy, rows, overlap):
    expected = await play(make(policy), range(6))
    samples = await play(make(policy, rows=rows, overlap=overlap), range(6))
    assert [sample.completion_ids for sample in samples] == [sample.completion_ids for sample in expected]


@pytest.mark.parametrize("overlap", [False, True])
async def test_the_order_of_arrival_changes_no_sample(policy, overlap):
    expected = await play(make(policy))
    samples = await play(make(policy, rows=9, overlap=overlap), reversed(range(12)))
    assert [sample.completion_ids for sample in samples] == [sample.completion_ids for sample in expected]


async def test_without_overlap_samples_are_equal_bit_for_bit(policy):
    assert await play(make(policy)) == await play(make(policy), reversed(range(12)))


async def test_seed_key_and_row_each_name_another_stream(policy):
    sampling = Sampling(30)
    one, two = await make(policy).sample("a", n=2, key="k", sampling=sampling)
    (three,) = await make(policy).sample("a", n=1, key="l", sampling=sampling)
    (four,) = await make(policy, seed=2).sample("a", n=1, key="k", sampling=sampling)
    assert len({sample.completion_ids for sample in (one, two, three, four)}) == 4


async def test_a_row_does_not_depend_on_how_many_are_drawn(policy):
    many = await make(policy).sample("a", n=5, key="k", sampling=Sampling(30))
    few = await make(policy).sample("a", n=2, key="k", sampling=Sampling(30))
    assert [sample.completion_ids for sample in few] == [sample.completion_ids for sample in many[:2]]


async def test_rows_end_at_the_end_token_or_at_their_limit(policy):
    samples = await make(policy).sample("a", n=60, key="k", sampling=Sampling(50))
    for sample in samples:
        assert sample.finished == (sample.completion_ids[-1] == 1)
        assert 1 not in sample.completion_ids[:-1]
        assert sample.finished or len(sample.completion_ids) == 50
        assert sample.text == policy.decode(sample.completion_ids)
    assert {sample.finished for sample in samples} == {True, False}


async def test_every_token_is_drawn_by_the_next_number_of_its_rows_stream(policy):
    policy = replace(policy, eos_ids=(10**6,))  # never drawn, so that the row is longer than one helping of numbers
    _, sample = await make(policy, seed=1).sample("a", n=2, key="k", sampling=Sampling(300))
    with torch.no_grad():
        logits = policy.model(torch.tensor([sample.prompt_ids + sample.completion_ids])).logits[0, :-1]
    expected, logprobs = draw(
        logits,
        temperature_R=torch.ones(300),
        top_p_R=torch.ones(300, dtype=torch.float64),
        uniform_R=torch.from_numpy(stream(1, "k", 1).random(300)),
    )
    assert list(sample.completion_ids) == expected.tolist()
    torch.testing.assert_close(torch.tensor(sample.logprobs), logprobs, atol=1e-5, rtol=0)


async def test_greedy_takes_the_most_probable_token(policy):
    (sample,) = await make(policy).sample("abc", n=1, key="k", sampling=Sampling(10, temperature=0))
    with torch.no_grad():
        logits = policy.model(torch.tensor([sample.prompt_ids + sample.completion_ids])).logits[0]
    assert logits[2:-1].argmax(dim=-1).tolist() == list(sample.completion_ids)


async def test_without_overlap_it_waits_for_everybody_who_was_started_together(policy):
    generator, steps = make(policy), []
    generator._decoder.admit = _noting(steps, generator._decoder.admit)

    async def late(delay):
        await asyncio.sleep(delay)
        await generator.sample("a", n=2, key=f"{delay}", sampling=Sampling(5))

    await gather(map(late, (0, 0.02, 0.05)))
    assert [len(tickets) for tickets in steps] == [3]


async def test_without_overlap_requests_are_taken_in_the_order_of_their_keys(policy):
    generator, steps = make(policy), []
    generator._decoder.admit = _noting(steps, generator._decoder.admit)
    await asyncio.gather(*reversed(_samples(generator, 4)))
    assert [[ticket.key for ticket in tickets] for tickets in steps] == [["k0", "k1", "k2", "k3"]]


async def test_a_coroutine_that_gathers_others_waits_as_long_as_they_do(policy):
    generator = make(policy)

    async def attempt(i):
        return await generator.sample("a", n=1, key=f"{i}", sampling=Sampling(5))

    async def outer():
        return await gather(map(attempt, range(3)))

    (answers,) = await asyncio.wait_for(gather([outer()]), timeout=20)
    assert [len(answer) for answer in answers] == [1, 1, 1]


async def test_work_of_an_inner_gather_holds_the_batch_back(policy):
    generator, steps = make(policy), []
    generator._decoder.admit = _noting(steps, generator._decoder.admit)

    async def verify_then_sample(i):
        await gather([asyncio.sleep(0.02)])
        await generator.sample("a", n=1, key=f"{i}", sampling=Sampling(5))

    await gather([*map(verify_then_sample, range(2)), *_samples(generator, 1)])
    assert [len(tickets) for tickets in steps] == [3]


def _work_between(seconds):
    """Coroutines that sample, work for a time of their own, and sample again."""

    async def episode(generator, i):
        (first,) = await generator.sample("abc", n=1, key=f"a{i}", sampling=Sampling(4 + 16 * i))
        await asyncio.sleep(seconds(i))
        return await generator.sample(first.text[:3] + "?", n=2, key=f"b{i}", sampling=Sampling(20))

    return episode


async def test_without_overlap_batches_do_not_depend_on_the_speed_of_what_runs_between(policy):
    async def batches(seconds):
        generator, steps = make(policy), []
        decoder, advance = generator._decoder, generator._decoder.run
        decoder.run = lambda most: (steps.append(sorted(t.key for t, _ in decoder._slots.owner)), advance(most))[1]
        samples = await gather(_work_between(seconds)(generator, i) for i in range(4))
        return steps, samples

    assert await batches(lambda i: 0) == await batches(lambda i: 0.03 * (4 - i))


async def test_without_overlap_a_request_that_follows_an_answer_joins_rows_that_are_still_decoding(policy):
    generator, admitted = make(policy), []
    admit = generator._decoder.admit

    def noting(tickets):
        admitted.append(([ticket.key for ticket in tickets], generator._decoder.rows))
        return admit(tickets)

    generator._decoder.admit = noting
    generator._decoder._eos = np.array([-1])  # every row runs to its limit

    async def long():
        await generator.sample("abc", n=1, key="z", sampling=Sampling(80))

    await gather([_work_between(lambda i: 0)(generator, 0), long()])
    assert admitted == [(["a0", "z"], 0), (["b0"], 1)]


async def test_a_step_of_decoding_after_a_failure_belongs_to_nobody(policy):
    generator = make(policy)
    waiting = asyncio.ensure_future(generator.sample("abc", n=1, key="k", sampling=Sampling(60)))
    started, run = asyncio.Event(), generator._decoder.run
    loop = asyncio.get_running_loop()
    generator._decoder.run = lambda most: (loop.call_soon_threadsafe(started.set), run(most))[1]
    await started.wait()
    generator._driver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (after,) = await asyncio.wait_for(generator.sample("abc", n=1, key="k", sampling=Sampling(30)), timeout=20)
    (alone,) = await make(policy).sample("abc", n=1, key="k", sampling=Sampling(30))
    assert after == alone


@pytest.mark.parametrize("overlap", [False, True])
async def test_a_failure_reaches_everyone_who_waits_and_leaves_the_generator_usable(policy, overlap):
    generator = make(policy, rows=4, overlap=overlap)
    working, generator._decoder.run = generator._decoder.run, _failing
    results = await asyncio.wait_for(asyncio.gather(*_samples(generator, 5), return_exceptions=True), timeout=20)
    assert [str(result) for result in results] == ["out of memory"] * 5
    generator._decoder.run = working
    assert [len(result) for result in await asyncio.gather(*_samples(generator, 5))] == [2] * 5


@pytest.mark.parametrize("overlap", [False, True])
async def test_a_cancelled_waiter_takes_its_rows_along_and_the_others_get_their_samples(policy, overlap):
    expected = await asyncio.gather(*_samples(make(policy), 4))
    generator = make(policy, overlap=overlap)
    tasks = [asyncio.create_task(sample) for sample in _samples(generator, 4)]
    while not generator._decoder.rows:  # noqa: ASYNC110 - the decoder, in its thread, knows no event loop
        await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), timeout=20)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    del expected[1]
    assert [[s.completion_ids for s in r] for r in results] == [[s.completion_ids for s in e] for e in expected]
    assert generator._decoder.rows == 0


async def test_a_coroutine_that_ends_without_sampling_holds_nobody_up(policy):
    generator = make(policy)
    sample, _ = await asyncio.wait_for(gather([*_samples(generator, 1), asyncio.sleep(0.02)]), timeout=20)
    assert len(sample) == 2


async def test_it_serves_one_event_loop_after_another(policy):
    generator = make(policy)
    runs = [await asyncio.to_thread(asyncio.run, play(generator, range(3))) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("prompt", "n", "limit", "message"),
    [
        ("", 1, 5, "0 tokens"),
        ("a" * 101, 1, 5, "from 1 to 100"),
        ("a", 0, 5, "at least 1"),
        ("a", 1, 0, "at least 1"),
        ("a", 1, 2048, "context of 2048"),
    ],
)
async def test_what_cannot_be_sampled_is_refused(policy, prompt, n, limit, message):
    with pytest.raises(ValueError, match=message):
        await make(policy).sample(prompt, n=n, key="k", sampling=Sampling(limit))


def test_a_recurrent_architecture_is_refused(policy):
    policy.model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(UserError, match="linear_attention"):
        make(policy)


def test_overlap_is_off_on_a_cpu_unless_asked_for(policy):
    assert not make(policy, overlap=None).overlap


def _samples(generator, count):
    return [generator.sample("ab", n=2, key=f"k{i}", sampling=Sampling(30)) for i in range(count)]


def _failing(most):
    raise RuntimeError("out of memory")


def _noting(calls, function):
    def noted(argument):
        calls.append(argument)
        return function(argument)

    return noted


async def test_samples_carry_the_version_of_the_weights_that_drew_them(policy):
    generator = make(policy)
    (before,) = await generator.sample("a", n=1, key="k", sampling=Sampling(5))
    await generator.update_weights(3, policy.model.state_dict())
    (after,) = await generator.sample("a", n=1, key="k", sampling=Sampling(5))
    assert (before.version, after.version) == (0, 3)
    assert before.completion_ids == after.completion_ids


async def test_new_weights_are_sampled_from(load):
    policy, other = load("qwen2"), load("qwen2")
    with torch.no_grad():
        for tensor in other.model.parameters():
            tensor.mul_(-1.5)
    generator = make(policy)
    await generator.update_weights(1, other.model.state_dict())
    sample = await generator.sample("a", n=3, key="k", sampling=Sampling(20))
    expected = await make(other).sample("a", n=3, key="k", sampling=Sampling(20))
    assert [s.completion_ids for s in sample] == [s.completion_ids for s in expected]
