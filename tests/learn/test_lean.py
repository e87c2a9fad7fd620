"""The learner's own forward pass computes what transformers' does, and so do its gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from azr.learn.base import TrainSample
from azr.learn.lean import supports
from azr.learn.logprobs import Scorer
from tests.rollout.test_lean import FAMILIES, made


def rollouts(longest: int = 30) -> list[TrainSample]:
    """Three prompts with ragged answers, two of which begin in the same way."""
    random = np.random.default_rng(0)
    prompts = [random.integers(99, size=length).astype(np.int32) for length in (9, 4, 1)]
    answers = [random.integers(99, size=length).astype(np.int32) for length in (5, longest, 1, 7, 12, 2)]
    answers.append(np.concatenate([answers[4][:6], answers[0]]))
    pairs = zip((0, 0, 1, 1, 1, 2, 1), answers, strict=True)
    return [TrainSample(prompts[i], answer, np.zeros(len(answer), np.float32)) for i, answer in pairs]


def results(model: Any, samples: list[TrainSample], *, lean: bool) -> dict[str, torch.Tensor]:
    """Scores of all completion tokens, and the gradients of a loss that weights each of them differently."""
    scorer = Scorer(model, temperature=0.8, keeps_states=True, whole=lean)
    assert scorer.sharing == ("prefixes" if lean else "prompts")
    model.zero_grad()
    scores = scorer.score([[sample] for sample in samples], entropy_gradient=True)
    weights_N = torch.linspace(-1, 1, len(scores.logprobs_N))
    ((scores.logprobs_N - 0.1 * scores.entropy_N) * weights_N).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return {"logprobs": scores.logprobs_N, "entropy": scores.entropy_N, "states": scores.states_NH, **gradients}


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_equal_those_of_transformers(family):
    model = made(FAMILIES[family])
    ours, theirs = results(model, rollouts(), lean=True), results(model, rollouts(), lean=False)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_positions_beyond_the_table_extend_it():
    model = made(FAMILIES["qwen2"])
    scorers = [Scorer(model, temperature=1.0, whole=whole) for whole in (True, False)]
    with torch.no_grad():
        ours, theirs = (scorer.score([[sample] for sample in rollouts(1100)]).logprobs_N for scorer in scorers)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def _checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable()
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.to(torch.bfloat16),
        _checkpointed,
        lambda model: get_peft_model(model, LoraConfig(target_modules=["q_proj"])).get_base_model(),
    ],
    ids=["bfloat16", "gradient checkpointing", "adapter"],
)
def test_other_models_are_left_to_transformers(change):
    assert not supports(change(made(FAMILIES["qwen2"])))
