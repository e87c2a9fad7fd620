"""The critic: its loss by hand, what it learns, and how it is saved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from azr.algorithms.registry import ALGORITHMS
from azr.config import AlgorithmConfig, PPOConfig
from azr.errors import UserError
from azr.learn.base import TrainSample
from azr.learn.critic import clipped_value_loss
from azr.types import Role, Rollout, Verdict
from tests.learners import draw, learner

PPO = AlgorithmConfig(name="ppo", ppo=PPOConfig(critic_lr=1e-2))


def arrays(policy, n):
    return [TrainSample.of(sample) for sample in draw(policy, "ab", n)]


def rollouts_for(taught, policy, reward=1.0):
    """Rollouts that all earned the same, with the critic's values and returns."""
    samples = [s for prompt in ("ab", "c = ") for s in draw(policy, prompt, 3)]
    judged = [Rollout(str(i), (Role.SOLVE, "k"), "g", s, Verdict(True, 1, ""), reward) for i, s in enumerate(samples)]
    plain = [TrainSample.of(sample) for sample in samples]
    values = taught.values(plain)
    estimates = ALGORITHMS["ppo"].estimate(judged, PPO, values)
    return [
        replace(sample, advantages_T=estimate.advantages_T, values_T=values_T, returns_T=estimate.returns_T)
        for sample, estimate, values_T in zip(plain, estimates, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("value", "old", "due", "clip", "loss", "slope"),
    [
        (0.5, 0.5, 1.0, 0.2, 0.125, -0.5),  # not moved yet
        (0.6, 0.5, 1.0, 0.2, 0.08, -0.4),  # moved towards the return, within the bound
        (0.8, 0.5, 1.0, 0.2, 0.045, 0.0),  # beyond the bound: (0.5 + 0.2 - 1)^2 / 2, and no gradient
        (0.1, 0.5, 1.0, 0.2, 0.405, -0.9),  # moved away: nothing is cut
        (0.8, 0.5, 1.0, None, 0.02, -0.2),
    ],
)
def test_the_value_loss_equals_the_table(value, old, due, clip, loss, slope):
    value_N = torch.tensor([value], requires_grad=True)
    found = clipped_value_loss(value_N, torch.tensor([old]), torch.tensor([due]), clip)
    found.sum().backward()
    assert (found.item(), value_N.grad.item()) == (pytest.approx(loss), pytest.approx(slope))


def test_a_critic_values_everything_at_zero_before_it_has_learnt(policy):
    values = learner(policy, algorithm=PPO).values(arrays(policy, 2))
    assert all(value == 0.0 for values_T in values for value in values_T)


def test_a_critic_learns_a_constant_reward(policy):
    taught = learner(policy, algorithm=PPO, lr=1e-6)
    losses = [taught.update(rollouts_for(taught, policy))["value_loss"] for _ in range(40)]
    assert losses[0] > 0.3
    assert losses[-1] < losses[0] / 20
    values = [value for values_T in taught.values(arrays(policy, 3)) for value in values_T]
    assert sum(values) / len(values) == pytest.approx(1.0, abs=0.2)


def test_the_value_loss_moves_no_weight_of_the_policy(policy):
    taught = learner(policy, algorithm=PPO)
    torch.nn.init.normal_(taught._critic.values.out.weight)
    rollouts = [replace(r, advantages_T=np.zeros_like(r.advantages_T)) for r in rollouts_for(taught, policy)]
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    assert taught.update(rollouts)["value_loss"] > 0
    for name, tensor in policy.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_architecture_that_scales_its_logits_has_hidden_states_too(policy, monkeypatch):
    taught = learner(policy, algorithm=PPO)
    torch.nn.init.normal_(taught._critic.values.out.weight)
    samples = arrays(policy, 2)
    expected = taught.values(samples)
    monkeypatch.setattr(taught._scorer, "_body", None)
    monkeypatch.setattr(taught._scorer, "_head", lambda states: states)
    for found, values_T in zip(taught.values(samples), expected, strict=True):
        assert found == pytest.approx(values_T, abs=1e-5)


def test_saved_and_loaded_the_critic_goes_on_as_if_nothing_had_happened(load, tmp_path):
    policy = load("qwen2")
    taught = learner(policy, algorithm=PPO, minibatches=2, schedule="cosine")
    for _ in range(2):
        taught.update(rollouts_for(taught, policy))
    taught.save(tmp_path)
    resumed_policy = load("qwen2")
    resumed = learner(resumed_policy, algorithm=PPO, minibatches=2, schedule="cosine")
    resumed.load(tmp_path)
    for _ in range(2):
        assert resumed.update(rollouts_for(resumed, resumed_policy)) == taught.update(rollouts_for(taught, policy))
    resumed.save(tmp_path)
    again = (tmp_path / "optimizer.pt").read_bytes()
    taught.save(tmp_path)
    assert (tmp_path / "optimizer.pt").read_bytes() == again


def test_a_checkpoint_without_a_critic_is_refused(policy, tmp_path):
    learner(policy).save(tmp_path)
    with pytest.raises(UserError, match="not a checkpoint of this model"):
        learner(policy, algorithm=PPO).load(tmp_path)


def test_a_return_that_is_no_number_leaves_everything_alone(policy):
    taught = learner(policy, algorithm=PPO)
    rollouts = rollouts_for(taught, policy)
    taught.update(rollouts)
    before = [tensor.clone() for tensor in taught._critic.values.parameters()]
    poisoned = replace(rollouts[0], returns_T=np.full_like(rollouts[0].returns_T, np.nan))
    with pytest.raises(FloatingPointError, match="update 1"):
        taught.update([poisoned, *rollouts[1:]])
    for tensor, kept in zip(taught._critic.values.parameters(), before, strict=True):
        assert torch.equal(tensor, kept)
        assert tensor.grad is None
