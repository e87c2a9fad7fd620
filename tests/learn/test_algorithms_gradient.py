"""Every algorithm's update against an independent computation: NumPy, float64, no automatic differentiation.

The advantages are written down again from their papers' equations, as loops over plain numbers; the surrogate and the
model are those of `tests.learn.test_gradient`, which takes central differences, parameter by parameter.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from azr.algorithms.registry import ALGORITHMS
from azr.config import AlgorithmConfig, PPOConfig
from azr.learn.base import TrainSample
from azr.models.load import LanguageModel
from azr.types import Role, Rollout, Sample, Verdict
from tests.learn.test_gradient import (
    TEMPERATURE,
    central_differences,
    model,  # noqa: F401  # the fixture
    numpy_logprobs,
    numpy_loss,
    numpy_states,
)
from tests.learners import gradient, learner

CELLS = [(Role.PROPOSE, "deduction"), (Role.SOLVE, "deduction")]
REWARDS = [1.0, -0.5, 0.25, 1.0, -1.0, -0.5, 0.75, 1.0, 0.5, -1.0]  # of the two cells, in turn
GROUPS = ["p0", "s0", "p1", "s0", "p2", "s1", "p3", "s1", "p4", "s1"]  # every proposal has a prompt of its own
LENGTHS = [1 + i % 4 for i in range(len(REWARDS))]

CASES = {
    "trr++": AlgorithmConfig(),
    "trr++ by token": AlgorithmConfig(whiten="token", clip_high=0.28),
    "reinforce++": AlgorithmConfig(name="reinforce++"),
    "reinforce++ by token": AlgorithmConfig(name="reinforce++", whiten="token"),
    "grpo": AlgorithmConfig(name="grpo"),
    "rloo": AlgorithmConfig(name="rloo"),
    "dr-grpo": AlgorithmConfig(name="dr-grpo", constant_length=7),
}


def mean(values):
    return math.fsum(values) / len(values)


def expected_advantage(case: str, i: int) -> float:
    """The equation of one rollout, with sums written out."""
    algorithm, reward = CASES[case], REWARDS[i]
    if algorithm.name in ("trr++", "reinforce++"):
        together = [j for j in range(len(REWARDS)) if algorithm.name == "reinforce++" or j % 2 == i % 2]
        if algorithm.whiten == "token":
            values = [REWARDS[j] for j in together for _ in range(LENGTHS[j])]
            spread = math.sqrt(math.fsum((v - mean(values)) ** 2 for v in values) / (len(values) - 1))
        else:
            values = [REWARDS[j] for j in together]
            spread = math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))
        return (reward - mean(values)) / spread
    # Proposals were sampled once a prompt: they are compared with each other.
    group = [j for j in range(len(REWARDS)) if (GROUPS[j] == GROUPS[i] if i % 2 else j % 2 == 0)]
    values = [REWARDS[j] for j in group]
    if algorithm.name == "rloo":
        return reward - mean([REWARDS[j] for j in group if j != i])
    if algorithm.name == "dr-grpo":
        return reward - mean(values)
    return (reward - mean(values)) / math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))


@pytest.fixture
def drawn(model):  # noqa: F811
    """Prompts, completions and log-probabilities of a sampler that differs a little from the learner."""
    rng = np.random.default_rng(0)
    w = {name: tensor.double().numpy().copy() for name, tensor in model.state_dict().items()}
    rollouts = []
    for i, length in enumerate(LENGTHS):
        prompt, completion = rng.integers(2, 20, 2 + i % 3).tolist(), rng.integers(2, 20, length).tolist()
        at = np.arange(len(prompt) - 1, len(prompt) + length - 1)
        logprobs = numpy_logprobs(w, np.array([prompt + completion]))[0, at, completion]
        rollouts.append((prompt, completion, np.float32(logprobs + rng.normal(0, 0.25, length))))
    return w, rollouts, rng


@pytest.mark.parametrize("case", CASES)
def test_an_update_is_the_gradient_of_the_algorithms_own_equations(model: LlamaForCausalLM, drawn, case):  # noqa: F811
    w, rollouts, rng = drawn
    expected_advantages = np.array([expected_advantage(case, i) for i in range(len(REWARDS))])
    expected = central_differences(
        lambda: numpy_loss(w, rollouts, lambda ids: numpy_logprobs(w, ids), CASES[case], expected_advantages), w, rng
    )
    judged = [
        Rollout(
            str(i), CELLS[i % 2], GROUPS[i], Sample(tuple(p), tuple(c), (), "", True), Verdict(True, 1, ""), REWARDS[i]
        )
        for i, (p, c, _) in enumerate(rollouts)
    ]
    algorithm = ALGORITHMS[CASES[case].name]
    samples = [
        TrainSample(np.int32(p), np.int32(c), old, estimate.advantages_T)
        for (p, c, old), estimate in zip(rollouts, algorithm.estimate(judged, CASES[case]), strict=True)
    ]
    policy = LanguageModel("llama", copy.deepcopy(model).eval(), None, (1,), (), None)
    taken = gradient(policy, samples, algorithm=CASES[case], temperature=TEMPERATURE)
    for name, tensor in taken.items():
        at = ~np.isnan(expected[name])
        np.testing.assert_allclose(tensor.numpy()[at], expected[name][at], atol=1e-6, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_the_algorithms_advantages_differ_here(case):
    """Otherwise the comparison above could not tell one from the other."""
    found = {name: [expected_advantage(name, i) for i in range(len(REWARDS))] for name in CASES}
    others = [advantages for name, advantages in found.items() if name != case]
    assert all(not np.allclose(found[case], other, atol=1e-3) for other in others)


PPO = AlgorithmConfig(name="ppo", ppo=PPOConfig(discount=0.9, gae_lambda=0.8, value_clip=0.1))


def numpy_values(head, states):
    """The value head's equation, on hidden states [..., width]."""
    hidden = np.tanh(states @ head["hidden.weight"].T + head["hidden.bias"])
    return (hidden @ head["out.weight"].T + head["out.bias"])[..., 0]


def by_definition(values, reward):
    """Advantages as the double sum over later errors, in float64."""
    config, last = PPO.ppo, len(values) - 1
    deltas = [
        (reward if t == last else config.discount * values[t + 1]) - values[t] for t in range(len(values))
    ]  # nothing follows the last token
    share = config.discount * config.gae_lambda
    return np.array([math.fsum(share ** (k - t) * deltas[k] for k in range(t, last + 1)) for t in range(last + 1)])


@pytest.fixture
def ppo_case(model, drawn):  # noqa: F811
    """A learner with a critic that values states already, its rollouts, and states and values in float64."""
    w, rollouts, rng = drawn
    policy = LanguageModel("llama", copy.deepcopy(model).eval(), None, (1,), (), None)
    taught = learner(policy, algorithm=PPO, temperature=TEMPERATURE, betas=(0.0, 0.999), lr=1e-12)
    torch.manual_seed(1)
    torch.nn.init.normal_(taught._critic.values.out.weight)
    head = {name: tensor.double().numpy().copy() for name, tensor in taught._critic.values.state_dict().items()}
    states = [
        numpy_states(w, np.array([prompt + completion]))[0, len(prompt) - 1 : len(prompt) + len(completion) - 1]
        for prompt, completion, _ in rollouts
    ]
    return w, rollouts, rng, policy, taught, head, states


def test_the_critic_values_the_states_in_which_tokens_were_drawn(ppo_case):
    _, rollouts, _, _, taught, head, states = ppo_case
    samples = [TrainSample(np.int32(p), np.int32(c), old) for p, c, old in rollouts]
    for found, states_TH in zip(taught.values(samples), states, strict=True):
        np.testing.assert_allclose(found, numpy_values(head, states_TH), atol=1e-5)


def test_an_update_by_ppo_is_the_gradient_of_its_equations(ppo_case):
    w, rollouts, rng, policy, taught, head, states = ppo_case
    values = [numpy_values(head, states_TH) for states_TH in states]
    plain = [by_definition(values_T, reward) for values_T, reward in zip(values, REWARDS, strict=True)]
    tokens = np.concatenate(plain)
    white = [(A_T - tokens.mean()) / tokens.std() for A_T in plain]
    returns = [A_T + values_T for A_T, values_T in zip(plain, values, strict=True)]
    old = [values_T + rng.normal(0, 0.2, len(values_T)) for values_T in values]  # so that clipping cuts some

    def value_loss():
        now = np.concatenate([numpy_values(head, states_TH) for states_TH in states])
        was, due = np.concatenate(old), np.concatenate(returns)
        near = was + (now - was).clip(-PPO.ppo.value_clip, PPO.ppo.value_clip)
        return np.maximum((now - due) ** 2, (near - due) ** 2).mean() / 2

    expected = central_differences(
        lambda: numpy_loss(w, rollouts, lambda ids: numpy_logprobs(w, ids), PPO, white), w, rng
    )
    expected_head = central_differences(value_loss, head, rng)
    judged = [
        Rollout(str(i), CELLS[i % 2], "g", Sample(tuple(p), tuple(c), (), "", True), Verdict(True, 1, ""), REWARDS[i])
        for i, (p, c, _) in enumerate(rollouts)
    ]
    estimates = ALGORITHMS["ppo"].estimate(judged, PPO, values)
    samples = [
        TrainSample(
            np.int32(p), np.int32(c), logprobs, estimates[i].advantages_T, np.float32(old[i]), estimates[i].returns_T
        )
        for i, (p, c, logprobs) in enumerate(rollouts)
    ]
    metrics = taught.update(samples)
    assert metrics["value_loss"] == pytest.approx(value_loss(), rel=1e-5)
    for optimizer, module, due in (
        (taught._optimizer, policy.model, expected),
        (taught._critic.optimizer, taught._critic.values, expected_head),
    ):
        moments = optimizer.state()["adam"]["state"]
        for i, (name, _) in enumerate(module.named_parameters()):
            at = ~np.isnan(due[name])
            assert np.abs(due[name][at]).max() > 1e-5, name
            found = moments[i]["exp_avg"].numpy()[at]
            np.testing.assert_allclose(found, due[name][at], atol=1e-6, rtol=1e-5, err_msg=name)
