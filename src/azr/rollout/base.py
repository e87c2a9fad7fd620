"""The contract of a generator, which samples completions from a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from azr.types import Prompt, Sample


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        max_new_tokens: tokens per completion, at most.
        temperature: 0 is greedy; log-probabilities are those of logits / temperature (of the raw logits when greedy).
        top_p: nucleus mass; 1 keeps all tokens. Log-probabilities are those before the cut, as the learner has them.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


Renderer: TypeAlias = Callable[[str], Prompt]
"""Converts text to a prompt: applies the chat template if there is one, and tokenizes."""


class Generator(Protocol):
    """Samples completions. Many coroutines may await it concurrently."""

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Draw n completions of one prompt.

        Args:
            prompt: from a renderer of the same model.
            n: number of completions; the prompt is run through the model once.
            key: names the random streams, "step/role/kind/index"; row i draws from the stream (seed, key, i) alone.
            sampling: how tokens are drawn.

        Returns:
            n samples in the order of their streams, in whatever order they finished. Each has its token ids, their
            log-probabilities at the sampling temperature, and the version of the weights that sampled it.
        """
        ...

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Sample from other weights from now on.

        Args:
            version: of the weights: the step whose update they come from. Samples carry it.
            weights: tensors by name, as returned by `Learner.weights`.

        Raises:
            UserError: the weights of this model cannot be changed.
        """
        ...
