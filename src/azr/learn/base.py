"""The contract of a learner, which updates the policy from rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from azr.types import Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TrainSample:
    """One rollout as the learner sees it. Arrays of length T have one entry per completion token.

    Attributes:
        prompt_ids_P: prompt token ids.
        completion_ids_T: sampled token ids.
        logprobs_T: the sampler's log-probabilities.
        advantages_T: what weighs the ratios; None until it is known.
        values_T: the critic's values before the update; None without a critic.
        returns_T: what the critic learns; None without a critic.
    """

    prompt_ids_P: NDArray[np.int32]
    completion_ids_T: NDArray[np.int32]
    logprobs_T: NDArray[np.float32]
    advantages_T: NDArray[np.float64] | None = None
    values_T: NDArray[np.float32] | None = None
    returns_T: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, sample: Sample, advantages_T: NDArray[np.float64] | None = None) -> TrainSample:
        """A sample as arrays."""
        return cls(
            np.array(sample.prompt_ids, np.int32),
            np.array(sample.completion_ids, np.int32),
            np.array(sample.logprobs, np.float32),
            advantages_T,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one optimizer step saw of one rollout, before the weights moved; arrays have one entry per token.

    Attributes:
        logprobs_T: the policy's.
        old_T: those that the ratio refers to.
        weight: what each of the tokens counts in the loss of the minibatch.
        reference_T: the reference model's; None where the loss has no divergence.
    """

    logprobs_T: NDArray[np.float32]
    old_T: NDArray[np.float32]
    weight: float
    reference_T: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What an update did.

    Attributes:
        metrics: by name: loss, grad_norm, clip_share, entropy, kl, mismatch_kl, ratio_max, lr, tokens.
        traces: for each sample, what each optimizer step saw of it; empty unless they were asked for.
    """

    metrics: Mapping[str, float]
    traces: Sequence[Sequence[Trace]] = ()


class UpdateStopped(Exception):  # noqa: N818 -- no error: somebody asked for it
    """An update was abandoned on request; weights and optimizer are as they were before it."""


def never() -> bool:
    """The default of `Learner.update`: nobody asks it to stop."""
    return False


class Learner(Protocol):
    """Takes policy-gradient steps. Its work runs off the event loop, one call at a time."""

    async def penalties(self, samples: Sequence[TrainSample]) -> NDArray[np.float64]:
        """What the divergence from the reference model takes off each sample's reward [B]; zeros if it is in the loss.

        Cancelling the call ends the work between two micro-batches.
        """
        ...

    async def values(self, samples: Sequence[TrainSample]) -> Sequence[NDArray[np.float32]] | None:
        """The critic's value of the state in which each token of each sample was drawn; None without a critic.

        Cancelling the call ends the work between two micro-batches.
        """
        ...

    async def update(
        self, samples: Sequence[TrainSample], *, traced: bool = False, stopping: Callable[[], bool] = never
    ) -> UpdateResult:
        """Take one step (or `epochs` times `minibatches` of them) on the rollouts.

        Args:
            samples: the rollouts, with advantages; with values and returns where there is a critic.
            traced: whether the result has traces.
            stopping: asked between micro-batches, from another thread. Once it says so, the update is abandoned if no
                weight has moved yet, else finished: a run can only go on from weights that belong to a whole update.

        Raises:
            UpdateStopped: it was abandoned.
        """
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """The policy's tensors by the names of its state dict: the live ones, not copies.

        Whoever hands them to another process or device copies them before the next update.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights, optimizer, schedule and counters into an existing folder; not during an update."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly; not during an update."""
        ...
