"""The contract of a learner, which updates the policy from rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from azr.types import Demonstration, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TrainSample:
    """One rollout as the learner sees it. Arrays of length T have one entry per completion token.

    Attributes:
        prompt_ids_P: prompt token ids.
        completion_ids_T: sampled token ids.
        logprobs_T: the sampler's log-probabilities.
        advantages_T: weights of the ratios; None until computed.
        values_T: the critic's values before the update; None without a critic.
        returns_T: targets of the critic; None without a critic.
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
    """One rollout as one optimizer step saw it, before the weights changed. Arrays have one entry per token.

    Attributes:
        logprobs_T: log-probabilities under the policy.
        old_T: log-probabilities in the denominator of the ratio.
        weight: of each token in the loss of the minibatch.
        reference_T: log-probabilities under the reference model; None if the loss has no KL term.
    """

    logprobs_T: NDArray[np.float32]
    old_T: NDArray[np.float32]
    weight: float
    reference_T: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """Metrics and traces of an update.

    Attributes:
        metrics: by name: loss, grad_norm, clip_share, entropy, kl, mismatch_kl, ratio_max, lr, tokens.
        traces: one sequence per sample, with one trace per optimizer step; empty unless requested.
    """

    metrics: Mapping[str, float]
    traces: Sequence[Sequence[Trace]] = ()


class UpdateStopped(Exception):  # noqa: N818 -- not an error, but a request
    """An update was abandoned on request; weights and optimizer are as they were before it."""


def never() -> bool:
    """The default `stopping` of `Learner.update`: never stop."""
    return False


class Learner(Protocol):
    """Takes policy-gradient steps. Its work runs off the event loop, one call at a time."""

    async def read(self, shown: Sequence[Demonstration]) -> Sequence[TrainSample]:
        """Answers that the policy did not sample, with their advantages and its own log-probabilities as they are now.

        Cancelling the call ends the work between two micro-batches.

        Raises:
            UserError: the learner cannot do it.
        """
        ...

    async def penalties(self, samples: Sequence[TrainSample]) -> NDArray[np.float64]:
        """The KL penalty to subtract from each sample's reward [B]; zeros if the divergence is part of the loss.

        Cancelling the call ends the work between two micro-batches.
        """
        ...

    async def values(self, samples: Sequence[TrainSample]) -> Sequence[NDArray[np.float32]] | None:
        """One array [T] per sample: the critic's values of the states where tokens were drawn. None without a critic.

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
            stopping: called between micro-batches, from another thread. If it returns True, the update is abandoned if
                no weight has changed yet, else finished: a run can only resume from the weights of a whole update.

        Raises:
            UpdateStopped: the update was abandoned.
        """
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """The policy's tensors by their names in the state dict: the live tensors, not copies.

        To send them to another process or device, copy them before the next update.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights, optimizer, schedule and counters into an existing folder; not during an update."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly; not during an update."""
        ...
