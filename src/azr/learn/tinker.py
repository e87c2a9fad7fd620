"""The learner over a Tinker service: the loss is computed here, its gradient through the model there.

The service gives log-probabilities of the sampled tokens. This process computes azr's own loss of them, L, and its
gradient g = dL / dlogprobs. The service then continues the backward pass: it differentiates the sum of g * logprobs,
with g fixed, whose gradient at these weights is that of L (docs/tinker.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.errors import UserError
from azr.learn.base import Trace, TrainSample, UpdateResult, UpdateStopped, never
from azr.learn.loss import divergence
from azr.learn.minibatches import check, examples_of, minibatches, single_step
from azr.learn.objective import Example, token_losses, token_weights, traces_of
from azr.learn.optimizer import learning_rate
from azr.learn.tally import Tally
from azr.rollout.tinker.data import datum, logprobs_of
from azr.rollout.tinker.state import read_state, write_state
from azr.types import Demonstration

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig, LearnerConfig
    from azr.rollout.tinker.service import TinkerService

_EPSILON = 1e-8
"""Of AdamW, as in torch and so in `PolicyLearner`; the client's own default is 1e-12."""

_SURROGATE = "cross_entropy"
"""The service's loss through which the gradient goes: the sum of -weight * log-probability."""


@dataclass(slots=True)
class _Seen:
    """What the loss function of one optimizer step saw; the client calls it in a thread of its own."""

    loss: float = 0.0
    tally: Tally = field(default_factory=Tally)
    traces: dict[int, Trace] = field(default_factory=dict)


class TinkerLearner:
    """Takes the steps of `PolicyLearner` on an adapter that a Tinker service holds (the `Learner` protocol).

    Args:
        service: the session.
        config: optimizer, schedule, and how a step's rollouts are divided.
        algorithm: the loss.
        total_steps: updates in the whole run, for the schedule.
        seed: for the order of rollouts when there are several minibatches.
    """

    def __init__(
        self,
        service: TinkerService,
        config: LearnerConfig,
        algorithm: AlgorithmConfig,
        *,
        total_steps: int,
        seed: int,
    ) -> None:
        self._service, self._config, self._algorithm = service, config, algorithm
        self._total_steps, self._seed = total_steps, seed
        self.updates = 0

    async def read(self, shown: Sequence[Demonstration]) -> list[TrainSample]:
        """Refused: `azr.config` does not let such a run start."""
        raise UserError("selfplay.search.gold, search.relabelled and relabel are not available with a Tinker service")

    async def penalties(self, samples: Sequence[TrainSample]) -> NDArray[np.float64]:
        """kl_coefficient x the divergence summed over a sample's tokens, at the sampler's log-probabilities [B]."""
        algorithm = self._algorithm
        if not algorithm.kl_coefficient or algorithm.kl_in == "loss":
            return np.zeros(len(samples))
        references = await self._forward(await self._service.reference(), samples)
        kls = [
            divergence(torch.from_numpy(sample.logprobs_T), torch.from_numpy(reference_T), algorithm.kl_estimator)
            for sample, reference_T in zip(samples, references, strict=True)
        ]
        return np.array([algorithm.kl_coefficient * float(kl_T.double().sum()) for kl_T in kls])

    async def values(self, samples: Sequence[TrainSample]) -> None:
        """None: a service gives no hidden states, so there is no critic."""

    async def update(
        self, samples: Sequence[TrainSample], *, traced: bool = False, stopping: Callable[[], bool] = never
    ) -> UpdateResult:
        """Take one step, or `epochs` times `minibatches` of them (see the protocol).

        Returns:
            the metrics of `PolicyLearner.update`, but no gradient norm and no token budget. `entropy` is an estimate,
            the mean of -log-probability over the sampled tokens. What the service says of an optimizer step is there
            under `tinker/`, of the last step if there are several.

        Raises:
            UpdateStopped: see the protocol; asked between a gradient and its step, and only before the first step.
            ValueError: no rollouts, or one that is empty or whose parts differ in length.
            FloatingPointError: a loss is not finite; the weights are kept.
            UserError: the service failed.
        """
        check(samples, critic=False)
        rate = learning_rate(self._config, self.updates, self._total_steps)
        references = await self._references(samples)
        olds = await self._olds(samples)
        tally, losses, metrics = Tally(), list[float](), dict[str, float]()
        traces = list[list[Trace]]([] for _ in samples if traced)
        parts = minibatches(samples, self._config, seed=self._seed, update=self.updates)
        for number, chosen in enumerate(parts):
            if number == 0 and stopping():
                raise UpdateStopped
            examples = examples_of(chosen, samples, olds, self._algorithm)
            seen = await self._gradient(examples, references, first=number == 0, traced=traced)
            if number == 0 and stopping():
                raise UpdateStopped
            metrics = await self._step(rate)
            tally.take(seen.tally)
            losses.append(seen.loss)
            for index, trace in seen.traces.items():
                traces[index].append(trace)
        self.updates += 1
        return UpdateResult(
            metrics
            | tally.means()
            | {
                "loss": sum(losses) / len(losses),
                "ratio_min": tally.ratio_min,
                "ratio_max": tally.ratio_max,
                "lr": rate,
                "tokens": float(sum(len(sample.completion_ids_T) for sample in samples)),
            },
            traces,
        )

    def weights(self) -> dict[str, Tensor]:
        """Nothing: the weights stay on the service, where the generator takes a snapshot of them."""
        return {}

    def save(self, folder: Path) -> None:
        """Let the service save weights and optimizer, and write where, once it has."""
        path = self._service.save(f"azr-{self.updates:06d}")
        write_state(folder, path=path, updates=self.updates, base_model=self._service.base)

    def load(self, folder: Path) -> None:
        """Continue from what `save` saved.

        Raises:
            UserError: the folder is not complete, or the service no longer has the state.
        """
        state = read_state(folder)
        self._service.restore(state["path"])
        self.updates = state["updates"]

    async def _references(self, samples: Sequence[TrainSample]) -> Sequence[NDArray[np.float32]] | None:
        if not self._algorithm.kl_coefficient or self._algorithm.kl_in != "loss":
            return None
        return await self._forward(await self._service.reference(), samples)

    async def _olds(self, samples: Sequence[TrainSample]) -> Sequence[NDArray[np.float32] | None]:
        if self._algorithm.importance_cap is None:
            return [sample.logprobs_T for sample in samples]
        if single_step(len(samples), self._config):
            return [None] * len(samples)  # the only forward pass gives them
        return await self._forward(await self._service.training(), samples)

    async def _forward(self, client: Any, samples: Sequence[TrainSample]) -> list[NDArray[np.float32]]:
        """Log-probabilities of each sample's tokens under a model on the service, without gradient."""
        output = await self._service.done(client.forward(_data(samples), _SURROGATE))
        return [logprobs_of(output, i, len(sample.completion_ids_T)) for i, sample in enumerate(samples)]

    async def _gradient(
        self,
        examples: Sequence[Example],
        references: Sequence[NDArray[np.float32]] | None,
        *,
        first: bool,
        traced: bool,
    ) -> _Seen:
        """Let the service compute the gradient of a minibatch's loss."""
        seen = _Seen()

        def loss(data: Sequence[Any], logprobs: Sequence[Tensor]) -> tuple[Tensor, dict[str, float]]:
            """What the client calls with one tensor of log-probabilities for each datum, prompt tokens included."""
            ends = [len(example.sample.completion_ids_T) for example in examples]
            logprobs_N = torch.cat([whole[len(whole) - size :] for whole, size in zip(logprobs, ends, strict=True)])
            chosen = None if references is None else [references[example.index] for example in examples]
            reference_N = None if chosen is None else torch.from_numpy(np.concatenate(chosen))
            loss_N, old_N = token_losses(logprobs_N, examples, self._algorithm, reference_N, seen.tally, first=first)
            seen.tally.add("entropy", -logprobs_N)
            total = (loss_N * token_weights(examples, logprobs_N)).sum()
            seen.loss = float(total.detach())
            if not math.isfinite(seen.loss):
                raise FloatingPointError(f"update {self.updates}: loss {seen.loss}; the weights are kept")
            if traced:
                seen.traces = traces_of(examples, logprobs_N.detach(), old_N, reference_N)
            return total, {}

        training = await self._service.training()
        await self._service.done(training.forward_backward_custom(_data([e.sample for e in examples]), loss))
        return seen

    async def _step(self, rate: float) -> dict[str, float]:
        """One step of AdamW on the service; returns what it says of it."""
        from tinker import types

        config, training = self._config, await self._service.training()
        parameters = types.AdamParams(
            learning_rate=rate,
            beta1=config.betas[0],
            beta2=config.betas[1],
            eps=_EPSILON,
            weight_decay=config.weight_decay,
            grad_clip_norm=config.grad_clip,
        )
        said = (await self._service.done(training.optim_step(parameters))).metrics or {}
        return {f"tinker/{name}": float(value) for name, value in said.items()}


def _data(samples: Sequence[TrainSample]) -> list[Any]:
    return [datum(sample.prompt_ids_P, sample.completion_ids_T) for sample in samples]
