"""The whole update against an independent computation: NumPy, float64, and no automatic differentiation.

A one-layer Llama is written down again from its equations, Eq. 8 and the surrogate too; the gradient is taken by
central differences, parameter by parameter, and compared with the one that the learner takes.
"""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from azr.algorithms.registry import TRRPlusPlus
from azr.config import AlgorithmConfig
from azr.learn.base import TrainSample
from azr.models.load import LanguageModel
from azr.types import Role, Rollout, Sample, Verdict
from tests.learners import gradient

HIDDEN, HEADS, EPSILON, THETA, TEMPERATURE = 8, 2, 1e-6, 10_000.0, 0.8
CELLS = [(Role.PROPOSE, "deduction"), (Role.SOLVE, "deduction")]
REWARDS = [1.0, -0.5, 0.25, 1.0, -1.0, -0.5, 1.0, 1.0]  # of the two cells, in turn

CASES = {
    "paper": AlgorithmConfig(),
    "reference": AlgorithmConfig(clip_high=0.28, dual_clip=1.05, entropy_coefficient=0.3),
    "divergence": AlgorithmConfig(kl_coefficient=0.5, kl_estimator="k3", aggregation="sequence_mean"),
    "constant length": AlgorithmConfig(
        aggregation="constant", constant_length=5, kl_coefficient=0.5, kl_estimator="k2"
    ),
}


def norm(x, weight):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * weight


def rotate(x):
    """Rotary positions on [batch, heads, length, width]."""
    length, width = x.shape[2:]
    angle = np.arange(length)[:, None] / THETA ** (np.arange(0, width, 2) / width)
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def numpy_states(w, ids):
    """Last hidden states [batch, length, width]."""
    batch, length = ids.shape
    x = w["model.embed_tokens.weight"][ids]
    layer = {name.removeprefix("model.layers.0."): array for name, array in w.items()}
    h = norm(x, layer["input_layernorm.weight"])
    q, k, v = (
        (h @ layer[f"self_attn.{name}_proj.weight"].T).reshape(batch, length, -1, HIDDEN // HEADS).swapaxes(1, 2)
        for name in "qkv"
    )
    scores = rotate(q) @ rotate(k).swapaxes(2, 3) / math.sqrt(HIDDEN // HEADS)
    scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
    attention = np.exp(scores - scores.max(-1, keepdims=True))
    attention /= attention.sum(-1, keepdims=True)
    x = x + (attention @ v).swapaxes(1, 2).reshape(batch, length, HIDDEN) @ layer["self_attn.o_proj.weight"].T
    h = norm(x, layer["post_attention_layernorm.weight"])
    gate = h @ layer["mlp.gate_proj.weight"].T
    x = x + (gate / (1 + np.exp(-gate)) * (h @ layer["mlp.up_proj.weight"].T)) @ layer["mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"])


def numpy_logprobs(w, ids):
    """Log-probabilities [batch, length, vocabulary] at the temperature."""
    logits = numpy_states(w, ids) @ w["lm_head.weight"].T / TEMPERATURE
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def eq_8():
    """Advantage of each rollout: its reward less the mean of its cell, by the deviation of its cell."""
    rewards = np.array(REWARDS).reshape(-1, 2)
    return ((rewards - rewards.mean(0)) / rewards.std(0)).reshape(-1)


def numpy_loss(w, rollouts, reference, algorithm, advantages=None):
    ids = np.zeros((len(rollouts), max(len(p) + len(c) for p, c, _ in rollouts)), int)
    for row, (prompt, completion, _) in enumerate(rollouts):
        ids[row, : len(prompt) + len(completion)] = prompt + completion
    all_logprobs, all_reference = numpy_logprobs(w, ids), reference(ids)
    total, tokens = 0.0, sum(len(completion) for _, completion, _ in rollouts)
    advantages = eq_8() if advantages is None else advantages
    for row, ((prompt, completion, old), advantage) in enumerate(zip(rollouts, advantages, strict=True)):
        at = np.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
        logprobs, other = all_logprobs[row, at, completion], all_reference[row, at, completion]
        ratio = np.exp(logprobs - old)
        gain = np.minimum(ratio * advantage, ratio.clip(1 - algorithm.clip_low, 1 + algorithm.clip_high) * advantage)
        if algorithm.dual_clip and advantage < 0:
            gain = np.maximum(gain, algorithm.dual_clip * advantage)
        entropy = -(np.exp(all_logprobs[row, at]) * all_logprobs[row, at]).sum(-1)
        d = other - logprobs
        kl = {"k1": -d, "k2": d**2 / 2, "k3": np.exp(d) - d - 1}[algorithm.kl_estimator]
        loss = (-gain + algorithm.kl_coefficient * kl - algorithm.entropy_coefficient * entropy).sum()
        total += {
            "token_mean": loss / tokens,
            "sequence_mean": loss / len(completion) / len(rollouts),
            "constant": loss / (algorithm.constant_length or 1) / len(rollouts),
        }[algorithm.aggregation]
    return total


def central_differences(function, w, rng, step=1e-6):
    """Derivatives with respect to up to 40 entries of each parameter, drawn at random; NaN elsewhere."""
    result = {name: np.full_like(array, np.nan) for name, array in w.items()}
    for name, array in w.items():
        for index in rng.permutation(list(np.ndindex(array.shape)))[:40]:
            index = tuple(index)
            kept = array[index]
            array[index] = kept + step
            above = function()
            array[index] = kept - step
            below = function()
            array[index] = kept
            result[name][index] = (above - below) / (2 * step)
    return result


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    sizes = {"vocab_size": 20, "hidden_size": HIDDEN, "intermediate_size": 12, "num_hidden_layers": 1}
    heads = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "initializer_range": 0.5}
    tokens = {"eos_token_id": 1, "pad_token_id": None, "bos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, **tokens, rms_norm_eps=EPSILON, tie_word_embeddings=False))


@pytest.mark.parametrize("case", CASES)
def test_an_update_takes_the_gradient_of_the_equations(model, case):
    algorithm, rng = CASES[case], np.random.default_rng(0)
    w = {name: tensor.double().numpy().copy() for name, tensor in model.state_dict().items()}
    frozen = copy.deepcopy(model)
    frozen.lm_head.weight.data += torch.randn(frozen.lm_head.weight.shape) * 0.1
    reference_w = {name: tensor.double().numpy() for name, tensor in frozen.state_dict().items()}
    rollouts = []
    for index in range(len(REWARDS)):
        prompt, completion = (rng.integers(2, 20, size).tolist() for size in (2 + index % 3, 1 + index % 4))
        at = np.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
        logprobs = numpy_logprobs(w, np.array([prompt + completion]))[0, at, completion]
        rollouts.append((prompt, completion, np.float32(logprobs + rng.normal(0, 0.25, len(completion)))))

    expected = central_differences(
        lambda: numpy_loss(w, rollouts, lambda ids: numpy_logprobs(reference_w, ids), algorithm), w, rng
    )
    taught = gradient(
        LanguageModel("llama", copy.deepcopy(model).eval(), None, (1,), (), None),
        _with_our_advantages(rollouts),
        algorithm=algorithm,
        temperature=TEMPERATURE,
        reference=frozen,
    )
    assert set(taught) == set(expected)
    for name, tensor in taught.items():
        at = ~np.isnan(expected[name])
        np.testing.assert_allclose(tensor.numpy()[at], expected[name][at], atol=1e-6, rtol=1e-5, err_msg=name)


def _with_our_advantages(rollouts):
    judged = [
        Rollout(str(i), CELLS[i % 2], "g", Sample(tuple(p), tuple(c), (), "", True), Verdict(True, 1, ""), REWARDS[i])
        for i, (p, c, _) in enumerate(rollouts)
    ]
    estimates = TRRPlusPlus().estimate(judged, AlgorithmConfig())
    return [
        TrainSample(np.int32(p), np.int32(c), old, estimate.advantages_T)
        for (p, c, old), estimate in zip(rollouts, estimates, strict=True)
    ]
