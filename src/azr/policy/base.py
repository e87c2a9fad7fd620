"""The policy's contract: a `Generator` that samples and a `Learner` that updates. Both wrap the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from azr.types import Prompt, Sample


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        max_new_tokens: a row is cut after so many tokens.
        temperature: 0 is greedy; log-probabilities are those of logits / temperature (of the raw logits when greedy).
        top_p: nucleus mass; 1 keeps all tokens. Log-probabilities are those before the cut, as the learner has them.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Trainee:
    """One rollout as the learner sees it: tokens, the sampler's log-probabilities and one advantage per token.

    Attributes:
        prompt_ids: prompt token ids.
        completion_ids: sampled token ids (length T).
        logprobs: the sampler's log-probabilities (length T).
        advantages: one per completion token (length T); equal numbers unless a critic made them.
        values: the critic's before the update, one per completion token; empty without a critic.
        returns: what the critic learns, one per completion token; empty without a critic.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantages: tuple[float, ...]
    values: tuple[float, ...] = ()
    returns: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one optimizer step saw of one rollout, before the weights moved; arrays have an entry a token (length T).

    Attributes:
        logprobs: the policy's (float32).
        old: those that the ratio refers to (float32).
        advantages: what weighed the ratio (float64).
        weight: what each of the tokens counts in the loss of the minibatch.
        reference: the reference model's (float32); None where the loss has no divergence.
    """

    logprobs: NDArray[np.float32]
    old: NDArray[np.float32]
    advantages: NDArray[np.float64]
    weight: float
    reference: NDArray[np.float32] | None = None


Observer: TypeAlias = Callable[[int, Trace], None]
"""Is told of every rollout, by its index, at every optimizer step that learns from it."""


Renderer: TypeAlias = Callable[[str], Prompt]
"""Makes a prompt of a text: applies the chat template where there is one, and tokenizes."""


class Generator(Protocol):
    """Samples completions; an asynchronous service that many coroutines await at once."""

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt.

        Args:
            prompt: what a renderer of the same model made.
            n: how many; the prompt is run through the model once.
            key: names the random streams, "step/role/kind/index"; row i draws from the stream (seed, key, i) alone.
            sampling: how tokens are drawn.

        Returns:
            n samples in the order of their streams, whatever order they finished in; each with its token ids, their
            log-probabilities at the sampling temperature, and the version of the weights that drew it.
        """
        ...

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Sample from other weights from now on.

        Args:
            version: of the weights: how many updates they have seen. Samples carry it.
            weights: tensors by name, as `Learner.weights` gives them.

        Raises:
            UserError: the weights of this model cannot be changed.
        """
        ...


class Learner(Protocol):
    """Takes policy-gradient steps."""

    def penalties(self, samples: Sequence[Sample]) -> Sequence[float]:
        """What the divergence from the reference model takes off each sample's reward; zeros if it is in the loss."""
        ...

    def values(self, samples: Sequence[Sample]) -> Sequence[Sequence[float]] | None:
        """The critic's value of the state in which each token of each sample was drawn; None without a critic."""
        ...

    def update(self, trainees: Sequence[Trainee], observe: Observer | None = None) -> Mapping[str, float]:
        """Take one step (or `epochs` times `minibatches` of them) on the rollouts.

        Args:
            trainees: the rollouts.
            observe: told what each step saw of each of them.

        Returns:
            metrics by name: loss, grad_norm, clip_share, entropy, kl, mismatch_kl, ratio_max, lr, tokens.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights, optimizer, schedule and counters into an existing folder."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly."""
        ...
