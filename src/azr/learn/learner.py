"""The learner: from rollouts with advantages to a step of the weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from azr.algorithms.registry import ALGORITHMS
from azr.errors import UserError
from azr.learn.background import Background, Check, check_also
from azr.learn.base import Trace, TrainSample, UpdateResult, UpdateStopped, never
from azr.learn.budget import TokenBudget
from azr.learn.critic import Critic
from azr.learn.logprobs import Scorer
from azr.learn.loss import divergence, sequence_weights
from azr.learn.objective import Example, Objective, flat, known
from azr.learn.optimizer import Optimizer, learning_rate
from azr.learn.tally import Tally
from azr.models.failures import out_of_memory
from azr.models.load import LanguageModel

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig, LearnerConfig


@dataclass(slots=True)
class _Gradient:
    """What is known of a minibatch besides the gradient itself, which the optimizer holds."""

    loss: float = 0.0
    tally: Tally = field(default_factory=Tally)
    traces: dict[int, Trace] = field(default_factory=dict)


class PolicyLearner:
    """Takes clipped policy-gradient steps with AdamW (the `Learner` protocol).

    Ratios refer to the sampler's stored log-probabilities. With `importance_cap` they refer to the learner's own at the
    start of the update, and the mismatch between the two goes into a truncated weight instead.

    Args:
        policy: the model that learns, in place; a generator over the same `LanguageModel` samples from the new weights.
        config: optimizer, schedule, and how a step's rollouts are cut up.
        algorithm: the loss.
        temperature: the sampling temperature, at which probabilities are compared.
        total_steps: updates in the whole run, for the schedule.
        seed: for the order of rollouts when there are several minibatches.
        reference: the frozen model that `kl_coefficient` pulls towards; None: the policy without its adapter, or a copy
            of the policy as it is now where it has none, made only if the coefficient is not 0.

    Raises:
        UserError: the weights are float16, whose gradients vanish or overflow.
    """

    def __init__(
        self,
        policy: LanguageModel,
        config: LearnerConfig,
        algorithm: AlgorithmConfig,
        *,
        temperature: float,
        total_steps: int,
        seed: int,
        reference: Any | None = None,
    ) -> None:
        if policy.model.dtype == torch.float16:
            raise UserError("model.dtype = float16 cannot be trained here; use bfloat16 or float32")
        self._policy, self._config, self._algorithm = policy, config, algorithm
        self._total_steps, self._seed = total_steps, seed
        self._critic = Critic(policy.model, config, algorithm.ppo) if ALGORITHMS[algorithm.name].has_critic else None
        self._scorer = Scorer(policy.model, temperature=temperature, keeps_states=self._critic is not None)
        self._budget = TokenBudget(config.token_budget, shares_prompts=self._scorer.shares_prompts)
        self._reference: Scorer | None = None
        if algorithm.kl_coefficient and policy.adapted and reference is None:
            self._reference = self._scorer
        elif algorithm.kl_coefficient:
            frozen = copy.deepcopy(policy.model) if reference is None else reference
            self._reference = Scorer(frozen.eval().requires_grad_(False), temperature=temperature)
        self._objective = Objective(self._scorer, algorithm, reference=self._reference, critic=self._critic)
        self._optimizer = Optimizer([p for p in policy.model.parameters() if p.requires_grad], config)
        self._background = Background()
        self.updates = 0

    async def penalties(self, samples: Sequence[TrainSample]) -> NDArray[np.float64]:
        """kl_coefficient x the divergence summed over a sample's tokens, at the sampler's log-probabilities [B]."""
        if self._reference is None or self._algorithm.kl_in == "loss":
            return np.zeros(len(samples))
        return await self._background.run(lambda check: self._penalties(samples, check))

    async def values(self, samples: Sequence[TrainSample]) -> list[NDArray[np.float32]] | None:
        """The critic's values of the states in which tokens were drawn; None without a critic."""
        if (critic := self._critic) is None:
            return None

        def score(rows: Sequence[Sequence[TrainSample]]) -> Tensor:
            values_N: Tensor = critic.values(self._scorer.states(rows))
            return values_N

        found = await self._background.run(lambda check: self._by_sample(samples, score, check))
        return [values_T.cpu().numpy() for values_T in found]

    async def update(
        self, samples: Sequence[TrainSample], *, traced: bool = False, stopping: Callable[[], bool] = never
    ) -> UpdateResult:
        """Take one step, or `epochs` times `minibatches` of them (see the protocol).

        Cancelling the call ends it between two micro-batches, whether or not weights have moved. It is for a process
        that ends without saving; `stopping` is for one that saves.

        Returns:
            as metrics, means over tokens: `clip_share`, `entropy` (nats), `kl` (to the reference; only where there is
            one), `mismatch_kl` (sampler to learner, k3, before the weights move) and `value_loss` (only with a critic);
            means over optimizer steps: `loss` and `grad_norm` (before clipping); `ratio_min`, `ratio_max`, `lr`,
            `tokens` (completion tokens, once each), and `token_budget`, which is less than configured once memory has
            run out.

        Raises:
            UpdateStopped: see the protocol.
            ValueError: no rollouts, or one that is empty or whose parts differ in length.
            FloatingPointError: a loss or gradient is not finite, and the weights stay as they were before that step; or
                the step drove them beyond bounds, and only a checkpoint has what they were.
            UserError: memory does not hold a single row, or the optimizer's state.
        """
        _check(samples, critic=self._critic is not None)
        return await self._background.run(lambda check: self._update(samples, traced, stopping, check))

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, without copies; with LoRA the adapter's matrices are beside the frozen weights."""
        weights: dict[str, Tensor] = self._policy.model.state_dict()
        return weights

    def save(self, folder: Path) -> None:
        """Write `model/` (see `LanguageModel.save`) and `optimizer.pt` into an existing folder."""
        self._policy.save(folder / "model")
        state = {
            "optimizer": self._optimizer.state(),
            "updates": self.updates,
            "token_budget": self._budget.tokens,
            "rng": torch.get_rng_state(),
        }
        if self._critic is not None:
            state["critic"] = self._critic.state()
        with (folder / "optimizer.pt").open("wb") as file:  # given a path, torch would not say that the disk is full
            torch.save(state, file)

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly: weights, moments, schedule, counters, torch's random state.

        Raises:
            UserError: the folder is not complete, or belongs to another model.
        """
        try:
            self._policy.restore(folder / "model")
            state = torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
            self._optimizer.restore(state["optimizer"])
            if self._critic is not None:
                self._critic.restore(state["critic"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: not a checkpoint of this model: {str(error).splitlines()[0]}") from error
        self.updates = state["updates"]
        self._budget.tokens = state["token_budget"]
        torch.set_rng_state(state["rng"])

    def _minibatches(self, size: int) -> list[list[int]]:
        """Indices of each optimizer step's rollouts: as given if all go into one step, else shuffled in every epoch."""
        epochs, parts = self._config.epochs, min(self._config.minibatches, size)
        if parts == 1:
            return [list(range(size))] * epochs
        orders = (np.random.default_rng([self._seed, self.updates, epoch]).permutation(size) for epoch in range(epochs))
        return [part.tolist() for order in orders for part in np.array_split(order, parts)]

    def _update(
        self, samples: Sequence[TrainSample], traced: bool, stopping: Callable[[], bool], check: Check
    ) -> UpdateResult:
        rate = learning_rate(self._config, self.updates, self._total_steps)
        check_unmoved = check_also(check, stopping)
        olds = self._old_logprobs(samples, check_unmoved)
        tally, steps, traces = Tally(), [], list[list[Trace]]([] for _ in samples if traced)
        for number, chosen in enumerate(self._minibatches(len(samples))):
            lengths = [len(samples[i].completion_ids_T) for i in chosen]
            weights = sequence_weights(lengths, self._algorithm.aggregation, self._algorithm.constant_length)
            examples = [Example(i, samples[i], olds[i], weight) for i, weight in zip(chosen, weights, strict=True)]
            first = number == 0
            seen, norm = self._step(examples, rate, check_unmoved if first else check, first=first, traced=traced)
            steps.append((seen.loss, norm))
            tally.take(seen.tally)
            for index, trace in seen.traces.items():
                traces[index].append(trace)
        self.updates += 1
        losses, norms = zip(*steps, strict=True)
        metrics = tally.means() | {
            "loss": sum(losses) / len(steps),
            "grad_norm": sum(norms) / len(steps),
            "ratio_min": tally.ratio_min,
            "ratio_max": tally.ratio_max,
            "lr": rate,
            "tokens": float(sum(len(sample.completion_ids_T) for sample in samples)),
            "token_budget": float(self._budget.tokens),
        }
        return UpdateResult(metrics, traces)

    def _penalties(self, samples: Sequence[TrainSample], check: Check) -> NDArray[np.float64]:
        result = np.zeros(len(samples))
        for i, reference_T in enumerate(self._by_sample(samples, self._objective.refer, check)):
            sampler_T = flat([samples[i].logprobs_T], reference_T)
            kl_T = self._algorithm.kl_coefficient * divergence(sampler_T, reference_T, self._algorithm.kl_estimator)
            result[i] = float(kl_T.cpu().double().sum())
        return result

    def _old_logprobs(self, samples: Sequence[TrainSample], check: Check) -> Sequence[NDArray[np.float32] | None]:
        if self._algorithm.importance_cap is None:
            return [sample.logprobs_T for sample in samples]
        if self._config.epochs == 1 and min(self._config.minibatches, len(samples)) == 1:
            return [None] * len(samples)  # the only forward pass gives them
        own = self._by_sample(samples, lambda rows: self._scorer.score(rows).logprobs_N, check)
        return [own_T.cpu().numpy() for own_T in own]

    def _by_sample(
        self,
        samples: Sequence[TrainSample],
        score: Callable[[Sequence[Sequence[TrainSample]]], Tensor],
        check: Check,
    ) -> list[Tensor]:
        """One number for each token of each sample, read in micro-batches and without gradient."""

        def attempt() -> list[Tensor]:
            found: dict[int, Tensor] = {}
            for part in self._budget.cut(samples):
                check()
                chosen = list(itertools.chain.from_iterable(part))
                scores_N = score([[samples[i] for i in row] for row in part])
                lengths = [len(samples[i].completion_ids_T) for i in chosen]
                found.update(zip(chosen, torch.split(scores_N, lengths), strict=True))
            return [found[i] for i in range(len(samples))]

        with torch.no_grad():
            return self._budget.within(attempt)

    def _step(
        self, examples: Sequence[Example], rate: float, check: Check, *, first: bool, traced: bool
    ) -> tuple[_Gradient, float]:
        """One optimizer step: what was seen on the way, and the gradient's norm before clipping."""
        seen = self._budget.within(lambda: self._gradient(examples, check, first=first, traced=traced))
        loss = seen.loss
        norm, critic = self._optimizer.clip(), self._critic
        value_norm = 0.0 if critic is None else critic.optimizer.clip()
        if not (math.isfinite(loss) and math.isfinite(norm) and math.isfinite(value_norm)):
            self._clear()
            raise FloatingPointError(f"update {self.updates}: loss {loss}, gradient norm {norm}; the weights are kept")
        try:
            self._optimizer.step(rate)
            if critic is not None:
                critic.step(self.updates, self._total_steps)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise UserError(
                    "out of memory for the optimizer's state; set learner.offload=true or"
                    " learner.optimizer=adamw-8bit, or learn with model.lora.rank=16"
                ) from error
            raise
        if self._optimizer.lost() or (critic is not None and critic.optimizer.lost()):
            raise FloatingPointError(f"update {self.updates}: the step drove the weights beyond all bounds")
        return seen, norm

    def _gradient(self, examples: Sequence[Example], check: Check, *, first: bool, traced: bool) -> _Gradient:
        """Compute the gradient over all micro-batches; from the start at every call."""
        model, result = self._policy.model, _Gradient()
        self._clear()
        model.train(model.is_gradient_checkpointing)  # transformers checkpoints in training mode only; dropout is 0
        try:
            for part in self._budget.cut([example.sample for example in examples]):
                check()
                rows = [[examples[i] for i in row] for row in part]
                share = self._objective.share(rows, result.tally, first=first, traced=traced)
                (share.loss + share.value_loss).backward()  # type: ignore[no-untyped-call]
                self._optimizer.collect()
                result.loss += float(share.loss.detach())
                result.traces.update(share.traces)
            check()  # once more, before the weights move
        except UpdateStopped:
            self._clear()
            raise
        finally:
            model.eval()
        return result

    def _clear(self) -> None:
        """Forget the gradient, the critic's too."""
        self._optimizer.clear()
        if self._critic is not None:
            self._critic.optimizer.clear()


def _check(samples: Sequence[TrainSample], *, critic: bool) -> None:
    if not samples:
        raise ValueError("no rollouts to learn from")
    for i, sample in enumerate(samples):
        parts = [sample.completion_ids_T, sample.logprobs_T, known(sample.advantages_T)]
        if critic:
            parts += [known(sample.values_T), known(sample.returns_T)]
        lengths = set(map(len, parts))
        if len(lengths) != 1 or 0 in lengths or not len(sample.prompt_ids_P):
            raise ValueError(f"rollout {i}: prompt of {len(sample.prompt_ids_P)}, parts of {sorted(lengths)} tokens")
