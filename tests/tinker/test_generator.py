"""Samples from a Tinker service: their tokens, their log-probabilities, and the version of the weights."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest

from azr.config import AlgorithmConfig, GenerationConfig
from azr.errors import UserError
from azr.models.load import load_text
from azr.rollout.base import Sampling
from azr.rollout.tinker.generator import TinkerGenerator
from azr.rollout.tinker.service import TinkerService
from tests.learners import plain_logprobs, train_sample
from tests.tinker.fake import serving
from tests.tinker.test_learner import model_of, remote

SAMPLING = Sampling(max_new_tokens=12)


@asynccontextmanager
async def sampling(folder, *, learns=True, config=None, **options):
    """A service, and a generator and a learner over one session there."""
    with serving(folder, **options) as fake:
        async with TinkerService(model_of(fake, folder), seed=0) as service:
            text = load_text(str(folder))
            generator = TinkerGenerator(service, text, config or GenerationConfig(), seed=5, learns=learns)
            yield fake, generator, remote(service, AlgorithmConfig()), text.renderer(chat=False)


@pytest.mark.slow
async def test_log_probabilities_are_those_of_the_model(folders, policy):
    async with sampling(folders["qwen2"]) as (_, generator, _, render):
        samples = await generator.sample(render("f(x)="), n=3, key="1/solve/deduction/0", sampling=SAMPLING)
    assert len({sample.completion_ids for sample in samples}) == 3
    for sample in samples:
        own = plain_logprobs(policy, sample.prompt_ids, sample.completion_ids)
        assert np.allclose(sample.logprobs, own, atol=1e-5)
        assert sample.text == policy.decode(sample.completion_ids)
        assert sample.finished == (sample.completion_ids[-1] in policy.eos_ids)


async def test_samples_carry_the_version_of_the_weights_that_drew_them(folders):
    async with sampling(folders["qwen2"]) as (fake, generator, learner, render):
        (old,) = await generator.sample(render("a"), n=1, key="1/solve/x/0", sampling=SAMPLING)
        await learner.update([train_sample(old, 1.0)])
        (between,) = await generator.sample(render("a"), n=1, key="2/solve/x/0", sampling=SAMPLING)
        await generator.update_weights(1, learner.weights())
        (new,) = await generator.sample(render("a"), n=1, key="2/solve/x/1", sampling=SAMPLING)
    assert [sample.version for sample in (old, between, new)] == [0, 0, 1]
    probe, *olds, second_probe, last = (request.sampling_session_id for request in fake.asked("asample"))
    assert {probe} == {*olds} != {second_probe} == {last}


@pytest.mark.slow
async def test_each_request_has_a_seed_that_its_key_decides(folders):
    async with sampling(folders["qwen2"]) as (_, generator, _, render):
        keys = ("1/solve/x/0", "1/solve/x/1", "1/solve/x/0")
        one, other, again = [await generator.sample(render("a"), n=2, key=key, sampling=SAMPLING) for key in keys]
    assert one == again != other


@pytest.mark.slow
async def test_without_learning_the_base_model_is_sampled(folders):
    async with sampling(folders["qwen2"], learns=False) as (fake, generator, _, render):
        await generator.sample(render("a"), n=1, key="1/solve/x/0", sampling=SAMPLING)
    assert not fake.asked("create_model")


async def test_the_probe_finds_a_sampler_with_other_log_probabilities(folders):
    async with sampling(folders["qwen2"], offset=-0.2) as (_, generator, _, render):
        with pytest.raises(UserError, match=r"does not sample from weights 0: .* by 0\.2 nats .*probe_tolerance"):
            await generator.sample(render("a"), n=1, key="1/solve/x/0", sampling=SAMPLING)


@pytest.mark.slow
async def test_the_probes_tolerance_can_be_raised(folders):
    config = GenerationConfig(probe_tolerance=0.3)
    async with sampling(folders["qwen2"], offset=-0.2, config=config) as (_, generator, _, render):
        assert await generator.sample(render("a"), n=1, key="1/solve/x/0", sampling=SAMPLING)


@pytest.mark.slow
async def test_completions_without_their_end_token_are_refused(folders):
    async with sampling(folders["qwen2"], ends=False) as (_, generator, _, render):
        with pytest.raises(UserError, match="without the token that ended it"):
            await generator.sample(render("a"), n=16, key="1/solve/x/0", sampling=Sampling(48))


@pytest.mark.slow
async def test_a_sample_that_nobody_waits_for_leaves_the_session_usable(folders):
    async with sampling(folders["qwen2"]) as (fake, generator, learner, render):
        await generator.sample(render("a"), n=1, key="1/solve/x/0", sampling=SAMPLING)
        begun, cancelled, draw, loop = asyncio.Event(), threading.Event(), fake._draw, asyncio.get_running_loop()

        def slow(*request):
            loop.call_soon_threadsafe(begun.set)
            cancelled.wait(60)
            return draw(*request)

        fake._draw = slow
        task = asyncio.create_task(generator.sample(render("b"), n=1, key="1/solve/x/1", sampling=SAMPLING))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        (sample,) = await generator.sample(render("c"), n=1, key="1/solve/x/2", sampling=SAMPLING)
        await learner.update([train_sample(sample, 1.0)])
        await generator.update_weights(1, {})
