"""What several of the policy's tests need: plain log-probabilities, rollouts, learners."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from azr.config import AlgorithmConfig, GenerationConfig, LearnerConfig
from azr.learn.base import TrainSample, UpdateResult
from azr.learn.learner import PolicyLearner
from azr.models.load import LanguageModel
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.types import Demonstration, Sample


def plain_logprobs(
    policy: LanguageModel, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities by one full forward pass over one sequence: no cache, no padding, no batch."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    return logprobs.gather(1, torch.tensor(list(completion))[:, None])[:, 0]


def draw(
    policy: LanguageModel, prompt: str, n: int, *, tokens: int = 12, temperature: float = 1.0
) -> tuple[Sample, ...]:
    """Samples from the generator itself."""
    generator = LocalGenerator(policy, GenerationConfig(), seed=5)
    sampling = Sampling(tokens, temperature)
    return asyncio.run(generator.sample(policy.renderer(chat=False)(prompt), n=n, key=prompt, sampling=sampling))


def train_sample(sample: Sample, advantage: float) -> TrainSample:
    """A sample with the same advantage at each of its tokens."""
    return TrainSample.of(sample, np.full(len(sample.logprobs), advantage))


def train_samples(policy: LanguageModel, *, n: int = 3, temperature: float = 1.0) -> list[TrainSample]:
    """Rollouts of ragged lengths whose advantages differ in sign and size."""
    samples = [s for i, p in enumerate(("a", "bcd", "ef(x)=")) for s in draw(policy, p, n, tokens=4 + 5 * i)]
    if temperature != 1.0:
        samples = [s for p in ("a", "bcd") for s in draw(policy, p, n, temperature=temperature)]
    return [train_sample(sample, (-1) ** i * (0.5 + i / 4)) for i, sample in enumerate(samples)]


class WaitingLearner(PolicyLearner):
    """A learner for tests without an event loop: its calls wait for their results."""

    def result(self, samples: Sequence[TrainSample], **options: Any) -> UpdateResult:
        return asyncio.run(super().update(samples, **options))

    def update(self, samples: Sequence[TrainSample], **options: Any) -> dict[str, float]:
        return dict(self.result(samples, **options).metrics)

    def read(self, shown: Sequence[Demonstration]) -> Any:
        return asyncio.run(super().read(shown))

    def values(self, samples: Sequence[TrainSample]) -> Any:
        return asyncio.run(super().values(samples))

    def penalties(self, samples: Sequence[TrainSample]) -> Any:
        return asyncio.run(super().penalties(samples))


def learner(
    policy: LanguageModel,
    *,
    algorithm: AlgorithmConfig | None = None,
    temperature: float = 1.0,
    reference: Any | None = None,
    **config: Any,
) -> WaitingLearner:
    """A learner with a learning rate at which a tiny model moves."""
    settings = LearnerConfig(**{"lr": 1e-2, "grad_clip": 1e6, **config})
    algorithm = algorithm or AlgorithmConfig()
    return WaitingLearner(
        policy, settings, algorithm, temperature=temperature, total_steps=10, seed=0, reference=reference
    )


def gradient(policy: LanguageModel, rollouts: Sequence[TrainSample], **options: Any) -> dict[str, torch.Tensor]:
    """The gradient that one update takes, by parameter: with beta_1 = 0, Adam's first moment is the gradient itself."""
    taught = learner(policy, betas=(0.0, 0.999), lr=1e-12, **options)
    taught.update(rollouts)
    moments = taught._optimizer.state()["adam"]["state"]
    names = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    return {name: moments[i]["exp_avg"].clone() for i, name in enumerate(names)}
