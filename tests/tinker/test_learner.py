"""An update through the Tinker API is the update that `PolicyLearner` takes on the same rollouts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from azr.config import AlgorithmConfig, LearnerConfig, ModelConfig, TinkerConfig
from azr.errors import UserError
from azr.learn.base import TrainSample, UpdateStopped
from azr.learn.learner import PolicyLearner
from azr.learn.tinker import TinkerLearner
from azr.rollout.tinker.service import TinkerService
from azr.rollout.tinker.state import read_state
from tests.learners import train_samples
from tests.tinker.fake import NAME, FakeTinker, serving

# At this rate, rounding stays below what is compared: Adam makes full steps of the smallest gradients too.
LEARNING = {"lr": 5e-5, "grad_clip": 0.5, "betas": (0.8, 0.99), "weight_decay": 0.01}


def model_of(fake: FakeTinker, folder, **tinker) -> ModelConfig:
    return ModelConfig(name=f"tinker:{NAME}", tokenizer=str(folder), tinker=TinkerConfig(url=fake.url, **tinker))


def remote(service: TinkerService, algorithm: AlgorithmConfig, **config) -> TinkerLearner:
    return TinkerLearner(service, LearnerConfig(**LEARNING, **config), algorithm, total_steps=10, seed=0)


@pytest.fixture
def samples(policy) -> list[TrainSample]:
    """Rollouts as if a slightly different policy had drawn them, so that ratios and caps matter."""
    noise = np.random.default_rng(3)

    def shifted(logprobs_T):
        return (logprobs_T + noise.normal(0, 0.3, len(logprobs_T))).astype(np.float32)

    return [replace(sample, logprobs_T=shifted(sample.logprobs_T)) for sample in train_samples(policy)]


def local(policy, algorithm: AlgorithmConfig, **config) -> PolicyLearner:
    settings = LearnerConfig(**LEARNING, **config)
    return PolicyLearner(policy, settings, algorithm, temperature=1.0, total_steps=10, seed=0)


def recorded(learner: PolicyLearner, policy) -> list[list[torch.Tensor]]:
    """The gradients of each of its optimizer steps from now on, before clipping."""
    found, clip = list[list[torch.Tensor]](), learner._optimizer.clip

    def recording() -> float:
        found.append([weight.grad.clone() for weight in policy.model.parameters()])
        return clip()

    learner._optimizer.clip = recording
    return found


@pytest.mark.parametrize(
    ("algorithm", "config"),
    [
        pytest.param({}, {}, marks=pytest.mark.slow),
        pytest.param({"importance_cap": 2.0}, {}, marks=pytest.mark.slow),
        ({"importance_cap": 1.1}, {"minibatches": 3, "epochs": 2}),
        pytest.param(
            {"clip_low": 0.05, "clip_high": 0.1, "dual_clip": 1.2}, {"minibatches": 2}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"aggregation": "sequence_mean", "kl_coefficient": 0.3, "kl_estimator": "k2"},
            {"minibatches": 2},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"aggregation": "constant", "constant_length": 50}, {"schedule": "linear"}, marks=pytest.mark.slow
        ),
    ],
    ids=["plain", "capped", "capped-minibatches", "clipped", "kl", "constant"],
)
async def test_updates_are_those_of_the_local_learner(folders, policy, samples, algorithm, config):
    settings = AlgorithmConfig(**algorithm)
    here = local(policy, settings, **config)
    gradients = recorded(here, policy)
    with serving(folders["qwen2"], chunk=4) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            taught = remote(service, settings, **config)
            for _ in range(2):
                found = await taught.update(samples, traced=True)
                own = await here.update(samples, traced=True)
            trained = fake.trained[(await service.training()).model_id]
    for step, mine in zip(fake.gradients, gradients, strict=True):
        for one, other in zip(step, mine, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-5)
    for one, other in zip(trained.model.parameters(), policy.model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)
    shared = set(found.metrics) & set(own.metrics) - {"entropy"}
    assert {"loss", "mismatch_kl", "clip_share", "ratio_min", "ratio_max", "lr", "tokens"} <= shared
    for name in shared:
        assert found.metrics[name] == pytest.approx(own.metrics[name], abs=1e-5), name
    for theirs, ours in zip(found.traces, own.traces, strict=True):
        for one, other in zip(theirs, ours, strict=True):
            assert np.allclose(one.logprobs_T, other.logprobs_T, atol=1e-5)
            assert np.allclose(one.old_T, other.old_T, atol=1e-5)
            assert one.weight == other.weight


@pytest.mark.slow
async def test_a_checkpoint_continues_with_weights_and_moments(folders, policy, samples, tmp_path):
    here = local(policy, AlgorithmConfig())
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"], ttl_days=2), seed=0) as service:
            taught = remote(service, AlgorithmConfig())
            await taught.update(samples)
            await asyncio.to_thread(taught.save, tmp_path)
            await taught.update(samples)  # is lost
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            taught = remote(service, AlgorithmConfig())
            await asyncio.to_thread(taught.load, tmp_path)
            await taught.update(samples)
            trained = fake.trained[(await service.training()).model_id]
    for _ in range(2):
        await here.update(samples)
    assert fake.asked("save_weights")[0].ttl_seconds == 2 * 24 * 3600
    assert taught.updates == 2
    for one, other in zip(trained.model.parameters(), policy.model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)


async def test_a_state_that_is_gone_is_told_in_one_line(folders, tmp_path):
    (tmp_path / "tinker.json").write_text('{"path": "tinker://gone/weights/1", "updates": 1}')
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            with pytest.raises(UserError, match="tinker://gone/weights/1 does not exist"):
                await asyncio.to_thread(remote(service, AlgorithmConfig()).load, tmp_path)


def test_a_state_that_was_changed_is_told_in_one_line(tmp_path):
    (tmp_path / "tinker.json").write_text('{"updates": 1}')
    with pytest.raises(UserError, match=r"tinker\.json: not the state of a model on a Tinker service"):
        read_state(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [1, 2])
async def test_a_stop_abandons_the_update_before_the_weights_move(folders, samples, asked):
    answers = iter([False] * (asked - 1) + [True])
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            taught = remote(service, AlgorithmConfig(), minibatches=2)
            with pytest.raises(UpdateStopped):
                await taught.update(samples, stopping=lambda: next(answers))
    assert not fake.asked("optim_step")
    assert taught.updates == 0


@pytest.mark.slow
async def test_a_loss_that_is_not_finite_moves_no_weight(folders, samples):
    broken = [replace(sample, advantages_T=sample.advantages_T * np.nan) for sample in samples]
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            with pytest.raises(FloatingPointError, match="the weights are kept"):
                await remote(service, AlgorithmConfig()).update(broken)
    assert not fake.asked("optim_step")


@pytest.mark.slow
async def test_penalties_are_those_of_the_local_learner(folders, policy, samples):
    algorithm = AlgorithmConfig(kl_coefficient=0.2, kl_in="reward")
    own = await local(policy, algorithm).penalties(samples)
    with serving(folders["qwen2"]) as fake:
        async with TinkerService(model_of(fake, folders["qwen2"]), seed=0) as service:
            found = await remote(service, algorithm).penalties(samples)
    assert np.abs(own).min() > 1e-4
    assert np.allclose(found, own, atol=1e-5)
