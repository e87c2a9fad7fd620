"""The learner: from rollouts with advantages to a step of the weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from azr.errors import UserError
from azr.policy.base import Observer, Trace, Trainee
from azr.policy.budget import TokenBudget
from azr.policy.critic import Critic
from azr.policy.load import LanguageModel
from azr.policy.logprobs import Scorer
from azr.policy.loss import divergence, sequence_weights
from azr.policy.objective import Lesson, Objective, flat
from azr.policy.optimizer import Optimizer, learning_rate
from azr.policy.tally import Tally
from azr.policy.trouble import out_of_memory
from azr.types import Sample

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig, LearnerConfig


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
        self._critic = Critic(policy.model, config, algorithm.ppo) if algorithm.name == "ppo" else None
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
        self.updates = 0

    def penalties(self, samples: Sequence[Sample]) -> list[float]:
        """kl_coefficient x the divergence summed over a sample's tokens, at the sampler's log-probabilities."""
        if self._reference is None or self._algorithm.kl_in == "loss":
            return [0.0] * len(samples)
        trainees = [Trainee(sample.prompt_ids, sample.completion_ids, sample.logprobs, ()) for sample in samples]
        result = [0.0] * len(samples)
        for i, reference_T in self._by_trainee(trainees, self._objective.refer).items():
            sampler_T = flat([trainees[i].logprobs], reference_T)
            kl_T = self._algorithm.kl_coefficient * divergence(sampler_T, reference_T, self._algorithm.kl_estimator)
            result[i] = float(kl_T.cpu().double().sum())
        return result

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]] | None:
        """The critic's values of the states in which tokens were drawn; None unless the algorithm is PPO."""
        if (critic := self._critic) is None:
            return None
        trainees = [Trainee(sample.prompt_ids, sample.completion_ids, sample.logprobs, ()) for sample in samples]
        found = self._by_trainee(trainees, lambda rows: critic.values(self._scorer.states(rows)))
        return [tuple(found[i].tolist()) for i in range(len(samples))]

    def update(self, trainees: Sequence[Trainee], observe: Observer | None = None) -> Mapping[str, float]:
        """Take one step, or `epochs` times `minibatches` of them (see the protocol).

        Returns:
            means over tokens: `clip_share`, `entropy` (nats), `kl` (to the reference; only where there is one) and
            `mismatch_kl` (sampler to learner, k3, before the weights move); means over optimizer steps: `loss` and
            `grad_norm` (before clipping); `ratio_min`, `ratio_max`, `lr`, `tokens` (completion tokens, once each), and
            `token_budget`, which is less than configured once memory has run out. With a critic, `value_loss` is a
            mean over tokens too.

        Raises:
            ValueError: no rollouts, or one that is empty or whose parts differ in length.
            FloatingPointError: a loss or gradient is not finite, and the weights stay as they were before that step; or
                the step drove them beyond bounds, and only a checkpoint has what they were.
            UserError: memory does not hold a single row, or the optimizer's state.
        """
        _check(trainees, critic=self._critic is not None)
        rate = learning_rate(self._config, self.updates, self._total_steps)
        olds = self._old_logprobs(trainees)
        tally, steps = Tally(), []
        for number, chosen in enumerate(self._minibatches(len(trainees))):
            lengths = [len(trainees[i].completion_ids) for i in chosen]
            weights = sequence_weights(lengths, self._algorithm.aggregation, self._algorithm.constant_length)
            lessons = [Lesson(i, trainees[i], olds[i], weight) for i, weight in zip(chosen, weights, strict=True)]
            steps.append(self._step(lessons, rate, tally, observe, first=number == 0))
        self.updates += 1
        losses, norms = zip(*steps, strict=True)
        return tally.means() | {
            "loss": sum(losses) / len(steps),
            "grad_norm": sum(norms) / len(steps),
            "ratio_min": tally.ratio_min,
            "ratio_max": tally.ratio_max,
            "lr": rate,
            "tokens": float(sum(len(trainee.completion_ids) for trainee in trainees)),
            "token_budget": float(self._budget.tokens),
        }

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

    def _old_logprobs(self, trainees: Sequence[Trainee]) -> Sequence[Sequence[float] | None]:
        if self._algorithm.importance_cap is None:
            return [trainee.logprobs for trainee in trainees]
        if self._config.epochs == 1 and min(self._config.minibatches, len(trainees)) == 1:
            return [None] * len(trainees)  # the one forward pass of the one step tells them
        own = self._by_trainee(trainees, self._own)
        return [own[i].tolist() for i in range(len(trainees))]

    def _by_trainee(
        self, trainees: Sequence[Trainee], score: Callable[[Sequence[Sequence[Trainee]]], Tensor]
    ) -> dict[int, Tensor]:
        """Log-probabilities of each rollout's tokens, by its index, read in micro-batches and without gradient."""

        def attempt() -> dict[int, Tensor]:
            found: dict[int, Tensor] = {}
            for part in self._budget.cut(trainees):
                chosen = list(itertools.chain.from_iterable(part))
                scores_N = score([[trainees[i] for i in row] for row in part])
                lengths = [len(trainees[i].completion_ids) for i in chosen]
                found.update(zip(chosen, torch.split(scores_N, lengths), strict=True))
            return found

        with torch.no_grad():
            return self._budget.within(attempt)

    def _own(self, rows: Sequence[Sequence[Trainee]]) -> Tensor:
        return self._scorer.score(rows).logprobs_N

    def _step(
        self, lessons: Sequence[Lesson], rate: float, tally: Tally, observe: Observer | None, *, first: bool
    ) -> tuple[float, float]:
        """One optimizer step; the loss and the gradient's norm are returned."""
        loss, seen, shown = self._budget.within(lambda: self._gradient(lessons, first=first, show=observe is not None))
        tally.take(seen)
        for index, trace in shown:
            if observe is not None:
                observe(index, trace)
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
        return loss, norm

    def _gradient(
        self, lessons: Sequence[Lesson], *, first: bool, show: bool
    ) -> tuple[float, Tally, list[tuple[int, Trace]]]:
        """Loss and gradient over all micro-batches, and what was seen on the way; from the start at every call."""
        model, loss, tally = self._policy.model, 0.0, Tally()
        shown: list[tuple[int, Trace]] = []
        self._clear()
        model.train(model.is_gradient_checkpointing)  # transformers checkpoints in training mode only; dropout is 0
        try:
            for part in self._budget.cut([lesson.trainee for lesson in lessons]):
                rows = [[lessons[i] for i in row] for row in part]
                show_one = (lambda *seen: shown.append(seen)) if show else None
                share, value_share = self._objective.loss(rows, tally, show_one, first=first)
                (share + value_share).backward()  # type: ignore[no-untyped-call]
                self._optimizer.collect()
                loss += float(share.detach())
        finally:
            model.eval()
        return loss, tally, shown

    def _clear(self) -> None:
        """Forget the gradient, the critic's too."""
        self._optimizer.clear()
        if self._critic is not None:
            self._critic.optimizer.clear()


def _check(trainees: Sequence[Trainee], *, critic: bool) -> None:
    if not trainees:
        raise ValueError("no rollouts to learn from")
    for i, trainee in enumerate(trainees):
        parts = [trainee.completion_ids, trainee.logprobs, trainee.advantages]
        lengths = set(map(len, [*parts, trainee.values, trainee.returns] if critic else parts))
        if len(lengths) != 1 or 0 in lengths or not trainee.prompt_ids:
            raise ValueError(f"rollout {i}: prompt of {len(trainee.prompt_ids)}, parts of {sorted(lengths)} tokens")
