"""The learner: what a step does to probabilities, exactness, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from azr.config import AlgorithmConfig
from azr.domains.base import make_task
from azr.errors import UserError
from azr.learn.base import TrainSample
from azr.learn.packing import micro_batches, share_prompts
from azr.types import Demonstration
from tests.learners import draw, gradient, learner, plain_logprobs, train_sample, train_samples


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def assert_same(ours, theirs, **tolerance):
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], **(tolerance or {"atol": 0, "rtol": 0}))


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_one_update_raises_the_rewarded_answer_and_lowers_the_punished_one(load, architecture):
    policy = load(architecture)
    good, bad = draw(policy, "2 + 3 =", 2)
    before = [plain_logprobs(policy, s.prompt_ids, s.completion_ids).sum() for s in (good, bad)]
    learner(policy, lr=1e-3).update([train_sample(good, 1.0), train_sample(bad, -1.0)])
    after = [plain_logprobs(policy, s.prompt_ids, s.completion_ids).sum() for s in (good, bad)]
    assert after[0] > before[0] + 0.1
    assert after[1] < before[1] - 0.1


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_ratios_at_the_first_step_are_one(load, architecture, temperature):
    policy = load(architecture)
    rollouts = train_samples(policy, temperature=temperature)
    metrics = learner(policy, temperature=temperature).update(rollouts)
    assert metrics["ratio_min"] == pytest.approx(1, abs=1e-5)
    assert metrics["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert metrics["mismatch_kl"] < 1e-9
    assert metrics["clip_share"] == 0


def test_ratios_tell_when_the_temperature_is_not_the_samplers(policy):
    metrics = learner(policy, temperature=1.0).update(train_samples(policy, temperature=0.7))
    assert metrics["ratio_max"] > 1.01


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("budget", [1, 40, 70])
def test_micro_batches_add_up_to_the_gradient_of_one_batch(policy, aggregation, budget):
    rollouts = train_samples(policy)
    algorithm = AlgorithmConfig(
        aggregation=aggregation, constant_length=20, kl_coefficient=0.1, entropy_coefficient=0.1
    )
    whole = gradient(policy, rollouts, algorithm=algorithm)
    assert len(micro_batches(rollouts, share_prompts(rollouts), budget)) > 1
    assert_same(gradient(policy, rollouts, algorithm=algorithm, token_budget=budget), whole, atol=1e-6, rtol=1e-5)


def test_gradient_checkpointing_changes_no_gradient_and_ends_in_eval_mode(policy):
    rollouts = train_samples(policy)
    plain = gradient(policy, rollouts)
    policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert_same(gradient(policy, rollouts), plain, atol=1e-6, rtol=1e-5)
    assert not policy.model.training


def test_the_divergence_is_zero_at_first_and_pulls_back_later(policy):
    rollouts = train_samples(policy)
    free, tied = (AlgorithmConfig(kl_coefficient=c, kl_estimator="k2") for c in (1e-9, 10.0))
    start = weights(policy)
    ends = []
    for algorithm in (free, tied):
        policy.model.load_state_dict(start)
        taught = learner(policy, algorithm=algorithm, lr=1e-3)
        metrics = [taught.update(rollouts) for _ in range(6)]
        assert metrics[0]["kl"] == pytest.approx(0, abs=1e-9)
        ends.append(metrics[-1]["kl"])
    assert 0 < ends[1] < ends[0] / 2


def test_without_a_divergence_there_is_no_number_for_it(policy):
    assert "kl" not in learner(policy).update(train_samples(policy))


def test_the_entropy_bonus_raises_entropy(policy):
    rollouts = [replace(r, advantages_T=np.zeros_like(r.advantages_T)) for r in train_samples(policy)]
    taught = learner(policy, algorithm=AlgorithmConfig(entropy_coefficient=1.0), lr=1e-3)
    first, *_, last = (taught.update(rollouts)["entropy"] for _ in range(4))
    assert last > first


def test_entropy_is_measured_in_nats(policy):
    rollouts = train_samples(policy)
    metrics = learner(policy).update(rollouts)
    assert 0 < metrics["entropy"] < torch.tensor(float(policy.model.config.vocab_size)).log()


def test_later_steps_are_clipped_against_the_sampler(policy):
    rollouts = train_samples(policy)
    taught = learner(policy, epochs=4)
    metrics = taught.update(rollouts)
    assert metrics["clip_share"] > 0
    assert metrics["ratio_max"] > 1.2


@pytest.mark.parametrize("options", [{}, {"epochs": 2}])
def test_the_importance_weight_scales_what_the_sampler_overrated(policy, options):
    shift = 0.5
    rollouts = [replace(r, logprobs_T=r.logprobs_T + np.float32(shift)) for r in train_samples(policy)]
    algorithm = AlgorithmConfig(importance_cap=2.0, clip_low=100, clip_high=100)
    weighted = gradient(policy, rollouts, algorithm=algorithm, **options)
    plain = gradient(policy, train_samples(policy), algorithm=AlgorithmConfig(clip_low=100, clip_high=100), **options)
    scale = torch.exp(torch.tensor(-shift))
    assert_same(weighted, {name: tensor * scale for name, tensor in plain.items()}, atol=1e-5, rtol=1e-3)


def test_the_importance_weight_is_capped(policy):
    rollouts = [replace(r, logprobs_T=r.logprobs_T - np.float32(3)) for r in train_samples(policy)]
    weighted = gradient(policy, rollouts, algorithm=AlgorithmConfig(importance_cap=2.0))
    plain = gradient(policy, train_samples(policy))
    assert_same(weighted, {name: 2 * tensor for name, tensor in plain.items()}, atol=1e-5, rtol=1e-3)


def test_the_mismatch_between_sampler_and_learner_is_measured(policy):
    rollouts = [replace(r, logprobs_T=r.logprobs_T + np.float32(0.5)) for r in train_samples(policy)]
    metrics = learner(policy).update(rollouts)
    assert metrics["mismatch_kl"] == pytest.approx(torch.tensor(-0.5).exp().item() - 1 + 0.5, rel=1e-3)


def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(load, tmp_path):
    options = {"epochs": 2, "minibatches": 2, "schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.1}
    policy = load("qwen2")
    rollouts, taught = train_samples(policy), learner(policy, **options)
    for _ in range(3):
        taught.update(rollouts)
    taught.save(tmp_path)
    expected = [taught.update(rollouts) for _ in range(3)]
    other = load("qwen2")
    resumed = learner(other, **options)
    resumed.load(tmp_path)
    assert [resumed.update(rollouts) for _ in range(3)] == expected
    assert_same(weights(other), weights(policy))


def test_loading_restores_torchs_random_state(policy, tmp_path):
    taught = learner(policy)
    taught.save(tmp_path)
    expected = torch.rand(3)
    taught.load(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_loaded_learner_is_pulled_towards_the_untrained_model(load, tmp_path):
    policy, algorithm = load("qwen2"), AlgorithmConfig(kl_coefficient=0.1)
    rollouts, taught = train_samples(policy), learner(policy, algorithm=algorithm)
    taught.update(rollouts)
    taught.save(tmp_path)
    resumed = learner(load("qwen2"), algorithm=algorithm)
    resumed.load(tmp_path)
    assert resumed.update(rollouts)["kl"] == taught.update(rollouts)["kl"] > 1e-4


@pytest.mark.parametrize("victim", ["model", "optimizer.pt"])
def test_half_a_checkpoint_is_refused(policy, tmp_path, victim):
    taught = learner(policy)
    taught.save(tmp_path)
    (tmp_path / victim).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not a checkpoint of this model"):
        taught.load(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(load, tmp_path):
    learner(load("llama")).save(tmp_path)
    with pytest.raises(UserError, match="not a checkpoint of this model"):
        learner(load("gpt2")).load(tmp_path)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_weights_and_optimizer_alone(policy, poison):
    rollouts, taught = train_samples(policy), learner(policy)
    taught.update(rollouts)
    before, moments = weights(policy), taught._optimizer.state()["adam"]["state"][0]["exp_avg"].clone()
    poisoned = [*rollouts, replace(rollouts[0], advantages_T=np.full_like(rollouts[0].advantages_T, poison))]
    with pytest.raises(FloatingPointError, match="update 1"):
        taught.update(poisoned)
    assert_same(weights(policy), before)
    assert torch.equal(taught._optimizer.state()["adam"]["state"][0]["exp_avg"], moments)
    assert all(parameter.grad is None for parameter in policy.model.parameters())


@pytest.mark.parametrize("decay", [1e30, 1e37])  # the square has no float32; the weight itself has none
def test_a_step_that_drives_weights_beyond_bounds_is_told(policy, decay):
    taught = learner(policy, lr=1.0, weight_decay=decay)
    with pytest.raises(FloatingPointError, match="update 0: the step drove the weights beyond all bounds"):
        taught.update(train_samples(policy))


def test_rollouts_that_do_not_fit_together_are_refused(policy):
    taught, (good, *_) = learner(policy), train_samples(policy)
    for bad in (
        replace(good, advantages_T=np.ones(1)),
        replace(good, prompt_ids_P=good.prompt_ids_P[:0]),
        replace(good, logprobs_T=good.logprobs_T[:0]),
    ):
        with pytest.raises(ValueError, match="rollout 1"):
            taught.update([good, bad])
    with pytest.raises(ValueError, match="no rollouts"):
        taught.update([])


def test_half_precision_without_loss_scaling_is_refused(policy):
    policy.model.half()
    with pytest.raises(UserError, match="float16"):
        learner(policy)


def test_bfloat16_weights_learn_at_the_papers_learning_rate(policy):
    policy.model.bfloat16()
    rollouts, start = train_samples(policy), weights(policy)["lm_head.weight"].float()
    taught = learner(policy, lr=1e-6)
    for _ in range(3):
        taught.update(rollouts)
    masters = dict(zip(policy.model.state_dict(), taught._optimizer.state()["masters"], strict=True))
    moved = (masters["lm_head.weight"] - start).abs().max().item()
    assert moved == pytest.approx(3e-6, rel=0.1)  # Adam moves by about the learning rate a step


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_divergence_in_the_reward_is_summed_over_a_samples_tokens(policy, load, estimator):
    samples = [s for p in ("ab", "c") for s in draw(policy, p, 2)]
    frozen = load("qwen2").model
    frozen.lm_head.weight.data *= 1.1
    algorithm = AlgorithmConfig(kl_coefficient=0.3, kl_estimator=estimator, kl_in="reward")
    found = learner(policy, algorithm=algorithm, reference=frozen).penalties(
        [TrainSample.of(sample) for sample in samples]
    )
    other = replace(policy, model=frozen)
    for sample, penalty in zip(samples, found, strict=True):
        d = plain_logprobs(other, sample.prompt_ids, sample.completion_ids) - torch.tensor(sample.logprobs)
        expected = {"k1": -d, "k2": d**2 / 2, "k3": d.exp() - 1 - d}[estimator].sum()
        assert penalty == pytest.approx(0.3 * expected.item(), abs=1e-5)
        assert abs(penalty) > 1e-6


def test_a_divergence_in_the_reward_is_no_part_of_the_loss(policy, load):
    rollouts, frozen = train_samples(policy), load("llama").model
    options = {"kl_coefficient": 5.0, "kl_estimator": "k2"}
    plain = gradient(policy, rollouts)
    in_reward = gradient(policy, rollouts, algorithm=AlgorithmConfig(**options, kl_in="reward"), reference=frozen)
    in_loss = gradient(policy, rollouts, algorithm=AlgorithmConfig(**options), reference=frozen)
    assert_same(in_reward, plain)
    assert max((in_loss[name] - plain[name]).abs().max() for name in plain) > 1e-3


def test_a_divergence_in_the_loss_takes_nothing_off_rewards(policy):
    samples = draw(policy, "ab", 2)
    assert learner(policy, algorithm=AlgorithmConfig(kl_coefficient=1.0)).penalties(
        [TrainSample.of(s) for s in samples]
    ).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "change",
    [
        {"clip_low": 0.01, "clip_high": 0.01},
        {"clip_high": 1.5},
        {"dual_clip": 1.05},
        {"entropy_coefficient": 0.5},
        {"aggregation": "sequence_mean"},
        {"aggregation": "constant", "constant_length": 50},
        {"importance_cap": 1.1},
        *({"kl_coefficient": 1.0, "kl_estimator": estimator} for estimator in ("k1", "k2", "k3")),
    ],
    ids=str,
)
def test_every_setting_of_the_loss_is_felt_by_the_gradient(policy, load, change):
    # A sampler that differs from the learner by up to a factor of two either way, so that all bounds are met.
    shifts = (0.7, -0.1, 0.1, -0.7)
    rollouts = [
        replace(r, logprobs_T=r.logprobs_T + np.resize(np.float32(shifts), len(r.logprobs_T)))
        for r in train_samples(policy)
    ]
    frozen = load("qwen2").model
    frozen.lm_head.weight.data *= 1.2
    plain = gradient(policy, rollouts)
    changed = gradient(policy, rollouts, algorithm=AlgorithmConfig(**change), reference=frozen)
    assert max((changed[name] - plain[name]).abs().max() for name in plain) > 1e-4


def shown(policy, prompt: str, text: str, advantage: float) -> Demonstration:
    task = make_task("induction", {}, fingerprint="", shape="")
    return Demonstration(
        "1/solve/induction/0/demonstration/0", task, "gold", policy.renderer(chat=False)(prompt), text, advantage
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_an_answer_that_is_shown_gets_the_policys_own_logprobs_and_an_end(policy, temperature):
    (read,) = learner(policy, temperature=temperature).read([shown(policy, "2 + 3 =", " five", 0.5)])
    assert policy.tokenizer.decode(read.completion_ids_T[:-1]) == " five"
    assert read.completion_ids_T[-1] in policy.eos_ids
    expected = plain_logprobs(policy, read.prompt_ids_P.tolist(), read.completion_ids_T.tolist(), temperature)
    np.testing.assert_allclose(read.logprobs_T, expected.numpy(), atol=1e-5)
    assert read.advantages_T.tolist() == [0.5] * len(read.completion_ids_T)


def test_an_update_raises_what_was_shown_beside_rollouts(policy):
    taught = learner(policy, lr=1e-3)
    (read,) = taught.read([shown(policy, "2 + 3 =", " five", 1.0)])
    metrics = taught.update([*train_samples(policy), read])
    after = plain_logprobs(policy, read.prompt_ids_P.tolist(), read.completion_ids_T.tolist())
    assert float(after.sum()) > float(read.logprobs_T.sum()) + 0.1
    assert metrics["ratio_max"] == pytest.approx(1, abs=1e-5)
