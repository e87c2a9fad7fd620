"""The learner: turns rollouts with advantages into a step of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from azr.algorithms.registry import algorithm as algorithm_of
from azr.errors import UserError
from azr.learn import sharded_state
from azr.learn.background import Background, Check, check_also, nothing
from azr.learn.base import Trace, TrainSample, UpdateResult, never
from azr.learn.budget import TokenBudget
from azr.learn.critic import Critic
from azr.learn.logprobs import Scorer
from azr.learn.loss import divergence
from azr.learn.minibatches import check as check_samples
from azr.learn.minibatches import examples_of, minibatches, single_step
from azr.learn.objective import Example, Objective
from azr.learn.optimizer import Optimizer, learning_rate
from azr.learn.passes import Gradient, Passes
from azr.learn.ranks import ALONE, Ranks
from azr.learn.tally import Tally
from azr.models.failures import out_of_memory
from azr.models.load import LanguageModel
from azr.types import Demonstration

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig, LearnerConfig


class PolicyLearner:
    """Takes clipped policy-gradient steps with AdamW (the `Learner` protocol).

    Ratios refer to the sampler's stored log-probabilities. With `importance_cap` they refer to the learner's own at the
    start of the update, and the mismatch between the two goes into a truncated weight instead.

    Args:
        policy: the model that learns, in place; a generator over the same `LanguageModel` samples from the new weights.
        config: optimizer, schedule, and how a step's rollouts are divided.
        algorithm: the loss.
        temperature: the sampling temperature, at which probabilities are compared.
        total_steps: updates in the whole run, for the schedule.
        seed: for the order of rollouts when there are several minibatches.
        reference: the frozen model that `kl_coefficient` pulls towards. None: the policy without its adapter or, if it
            has no adapter, a copy of the policy as it is now. The copy is only made if the coefficient is not 0.
        ranks: the processes that share each update; None: this one alone.

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
        ranks: Ranks | None = None,
    ) -> None:
        if policy.model.dtype == torch.float16:
            raise UserError("model.dtype = float16 cannot be trained here; use bfloat16 or float32")
        self._policy, self._config, self._algorithm = policy, config, algorithm
        self._ranks = ranks = ranks or ALONE
        self._total_steps, self._seed = total_steps, seed
        self._critic = Critic(policy.model, config, algorithm.ppo) if algorithm_of(algorithm.name).has_critic else None
        model = ranks.own(policy.model)
        whole = not ranks.sharded
        scorer = Scorer(model, temperature=temperature, keeps_states=self._critic is not None, whole=whole)
        distant: Scorer | None = None
        if algorithm.kl_coefficient and not (policy.adapted and reference is None):
            frozen = copy.deepcopy(model) if reference is None else reference
            frozen = frozen.eval().requires_grad_(False)
            distant = ranks.shard(Scorer(frozen, temperature=temperature, whole=whole))
        self._scorer = ranks.shard(scorer)
        self._budget = TokenBudget(config.token_budget, sharing=scorer.sharing, ranks=ranks)
        self._reference = self._scorer if algorithm.kl_coefficient and distant is None else distant
        self._objective = Objective(self._scorer, algorithm, reference=self._reference, critic=self._critic)
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._optimizer = Optimizer([p for p in model.parameters() if p.requires_grad], config, ranks.norm)
        self._passes = Passes(self._scorer, self._objective, self._optimizer, self._critic, self._budget, ranks)
        self._background = Background()
        self.updates = 0

    async def read(self, shown: Sequence[Demonstration]) -> list[TrainSample]:
        """Answers that the policy did not sample, with their advantages and its own log-probabilities as they are now.

        The ratios of the loss start at 1, as those of rollouts do.
        """
        samples = [self._written(one) for one in shown]
        return await self._background.run(lambda check: self._read(samples, check))

    async def penalties(self, samples: Sequence[TrainSample]) -> NDArray[np.float64]:
        """kl_coefficient x the divergence summed over a sample's tokens, at the sampler's log-probabilities [B]."""
        if self._reference is None or self._algorithm.kl_in == "loss":
            return np.zeros(len(samples))
        return await self._background.run(lambda check: self._penalties(samples, check))

    async def values(self, samples: Sequence[TrainSample]) -> list[NDArray[np.float32]] | None:
        """The critic's values of the states in which tokens were drawn; None without a critic."""
        if self._critic is None:
            return None
        return await self._background.run(lambda check: self._values(samples, check))

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
            UserError: a single row, or the optimizer's state, does not fit into memory.
        """
        check_samples(samples, critic=self._critic is not None)
        return await self._background.run(lambda check: self._update(samples, traced, check, stopping))

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, without copies; with LoRA the adapter's matrices are beside the frozen weights."""
        weights: dict[str, Tensor] = self._policy.model.state_dict()
        return weights

    def save(self, folder: Path) -> None:
        """Write `model/` (see `LanguageModel.save`) and `optimizer.pt` into an existing folder.

        If the weights are sharded, the optimizer's state is in `optimizer/` instead, where each rank writes its part.
        """
        if self._ranks.sharded:
            self._ranks.call("save", folder)
            sharded_state.write(folder / "optimizer", self._names, self._optimizer, self._ranks.control)
        if self._ranks.rank:
            return
        self._policy.save(folder / "model")
        state = {
            "optimizer": None if self._ranks.sharded else self._optimizer.state(),
            "updates": self.updates,
            "token_budget": self._budget.tokens,
            "rng": torch.get_rng_state(),
        }
        if self._critic is not None:
            state["critic"] = self._critic.state()
        with (folder / "optimizer.pt").open("wb") as file:  # given a path, torch would not say that the disk is full
            torch.save(state, file)

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly, on any number of ranks.

        Restores weights, moments, schedule, counters, torch's random state.

        Raises:
            UserError: the folder is not complete, or belongs to another model.
        """
        self._ranks.call("load", folder)
        try:
            if not self._ranks.sharded or self._ranks.rank == 0:
                self._policy.restore(folder / "model")
            self._ranks.receive(self._scorer.model, self._policy.model)
            state = torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
            self._optimizer.restore(
                state["optimizer"]
                or sharded_state.read(folder / "optimizer", self._names, self._optimizer, self._ranks.control)
            )
            if self._critic is not None:
                self._critic.restore(state["critic"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: not a checkpoint of this model: {str(error).splitlines()[0]}") from error
        self.updates = state["updates"]
        self._budget.tokens = state["token_budget"]
        torch.set_rng_state(state["rng"])

    @property
    def calls(self) -> dict[str, Callable[..., object]]:
        """What rank 0 calls with `Ranks.call`, for all other ranks to carry out."""
        return {
            "read": self._read,
            "penalties": self._penalties,
            "values": self._values,
            "update": self._update,
            "save": self.save,
            "load": self.load,
        }

    def _update(
        self,
        samples: Sequence[TrainSample],
        traced: bool,
        check: Check = nothing,
        stopping: Callable[[], bool] = never,
    ) -> UpdateResult:
        self._ranks.call("update", samples, traced)
        rate = learning_rate(self._config, self.updates, self._total_steps)
        check_unmoved = check_also(check, stopping)
        olds = self._old_logprobs(samples, check_unmoved)
        tally, steps, traces = Tally(), [], list[list[Trace]]([] for _ in samples if traced)
        parts = minibatches(samples, self._config, seed=self._seed, update=self.updates)
        for number, chosen in enumerate(parts):
            examples = examples_of(chosen, samples, olds, self._algorithm)
            first = number == 0
            seen, norm = self._step(examples, rate, check_unmoved if first else check, first=first, traced=traced)
            steps.append((seen.loss, norm))
            tally.take(seen.tally)
            for index, trace in seen.traces.items():
                traces[index].append(trace)
        self.updates += 1
        self._ranks.publish(self._scorer.model, self._policy.model)
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

    def _written(self, shown: Demonstration) -> TrainSample:
        """An answer as tokens, with the end token; its log-probabilities are not known yet."""
        completion_ids_T = np.array(self._policy.encode_answer(shown.text), np.int32)
        unknown_T = np.full(len(completion_ids_T), np.nan, np.float32)
        advantages_T = np.full(len(completion_ids_T), shown.advantage)
        return TrainSample(np.array(shown.prompt.token_ids, np.int32), completion_ids_T, unknown_T, advantages_T)

    def _read(self, samples: Sequence[TrainSample], check: Check = nothing) -> list[TrainSample]:
        self._ranks.call("read", samples)
        found = self._passes.by_sample(samples, lambda rows: self._scorer.score(rows).logprobs_N, check)
        return [replace(sample, logprobs_T=logprobs_T) for sample, logprobs_T in zip(samples, found, strict=True)]

    def _penalties(self, samples: Sequence[TrainSample], check: Check = nothing) -> NDArray[np.float64]:
        self._ranks.call("penalties", samples)
        result = np.zeros(len(samples))
        for i, reference_T in enumerate(self._passes.by_sample(samples, self._objective.refer, check)):
            sampler_T, other_T = torch.from_numpy(samples[i].logprobs_T), torch.from_numpy(reference_T)
            kl_T = self._algorithm.kl_coefficient * divergence(sampler_T, other_T, self._algorithm.kl_estimator)
            result[i] = float(kl_T.double().sum())
        return result

    def _values(self, samples: Sequence[TrainSample], check: Check = nothing) -> list[NDArray[np.float32]]:
        self._ranks.call("values", samples)
        critic = self._critic
        assert critic is not None
        return self._passes.by_sample(samples, lambda rows: critic.values(self._scorer.states(rows)), check)

    def _old_logprobs(self, samples: Sequence[TrainSample], check: Check) -> Sequence[NDArray[np.float32] | None]:
        if self._algorithm.importance_cap is None:
            return [sample.logprobs_T for sample in samples]
        if single_step(len(samples), self._config):
            return [None] * len(samples)  # the only forward pass gives them
        return self._passes.by_sample(samples, lambda rows: self._scorer.score(rows).logprobs_N, check)

    def _step(
        self, examples: Sequence[Example], rate: float, check: Check, *, first: bool, traced: bool
    ) -> tuple[Gradient, float]:
        """One optimizer step; returns what it saw, and the gradient's norm before clipping."""
        seen = self._passes.gradient(examples, check, first=first, traced=traced)
        loss = seen.loss
        norm, critic = self._optimizer.clip(), self._critic
        value_norm = 0.0 if critic is None else critic.optimizer.clip()
        if not (math.isfinite(loss) and math.isfinite(norm) and math.isfinite(value_norm)):
            self._passes.clear()
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
