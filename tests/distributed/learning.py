"""What each rank of a test does: load a model, take steps, and tell what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from azr.config import AlgorithmConfig, LearnerConfig, LoRAConfig, ModelConfig
from azr.distributed.follow import Calls, follow
from azr.learn.base import TrainSample
from azr.learn.learner import PolicyLearner
from azr.learn.optimizer import local
from azr.models.load import LanguageModel, load_model
from tests.learners import draw

KL_AND_CAP = {"kl_coefficient": 0.1, "importance_cap": 1.5}


def rollouts(folder: Path, *, count: int = 11, spread: float = 0.3) -> list[TrainSample]:
    """Samples of a model, some with a common prompt, as if drawn by one that is a little different."""
    policy, rng = load_model(ModelConfig(name=str(folder), device="cpu")), np.random.default_rng(0)
    drawn = [draw(policy, "def f(x):\n"[: 3 + i], 1, tokens=4 + i)[0] for i in range(count - 3)]
    drawn += draw(policy, "f(1) =", 3, tokens=9)
    found = []
    for i, sample in enumerate(drawn):
        made = TrainSample.of(sample, np.full(len(sample.logprobs), (-1) ** i * (0.5 + i / 4)))
        noise = rng.normal(0, spread, len(sample.logprobs)).astype(np.float32)
        found.append(replace(made, logprobs_T=made.logprobs_T + noise))
    return found


def make_learner(
    ranks: Any,
    folder: Path,
    *,
    lora: int = 0,
    algorithm: dict[str, Any] | None = None,
    model: Any = None,
    **learner: Any,
) -> tuple[LanguageModel, PolicyLearner]:
    policy = load_model(ModelConfig(name=str(folder), device="cpu", lora=LoRAConfig(rank=lora), **(model or {})))
    if lora:  # an adapter starts as nothing at all
        with torch.no_grad():
            for i, parameter in enumerate(p for p in policy.model.parameters() if p.requires_grad):
                generator = torch.Generator().manual_seed(i)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 30)
    config = LearnerConfig(**{"lr": 1e-3, "token_budget": 60, "warmup_steps": 2, "schedule": "linear", **learner})
    made = PolicyLearner(
        policy,
        config,
        AlgorithmConfig(**(algorithm or KL_AND_CAP)),
        temperature=0.9,
        total_steps=9,
        seed=0,
        ranks=ranks,
    )
    return policy, made


def weights(policy: LanguageModel) -> dict[str, Any]:
    """Trainable weights as arrays."""
    named = policy.model.named_parameters()
    return {name: local(p).detach().float().clone().numpy() for name, p in named if p.requires_grad}


def lead(ranks: Any, calls: Calls, work: Callable[[], Any]) -> Any:
    """Do some work on rank 0, whose calls the other ranks carry out."""
    if ranks.rank:
        return follow(ranks, calls)
    result = work()
    if ranks.size > 1:
        ranks.dismiss()
    return result


def steps(ranks: Any, folder: Path, count: int, samples: list[TrainSample], options: dict[str, Any]) -> Any:
    """Take steps: each step's metrics, and the weights at the end."""
    policy, learner = make_learner(ranks, folder, **options)
    found = lead(ranks, learner.calls, lambda: [dict(learner._update(samples, False).metrics) for _ in range(count)])
    return found, weights(policy)
