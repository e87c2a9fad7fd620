"""Forward and backward passes over a step's rollouts, in micro-batches that all ranks take at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.learn.base import Trace, TrainSample
from azr.learn.budget import TokenBudget
from azr.learn.critic import Critic
from azr.learn.logprobs import Scorer
from azr.learn.objective import Example, Objective
from azr.learn.optimizer import Optimizer
from azr.learn.ranks import Ranks
from azr.learn.tally import Tally

Score = Callable[[Sequence[Sequence[TrainSample]]], Tensor]
"""Rows of rollouts to one number per completion token, rollout after rollout [N]."""


@dataclass(slots=True)
class Gradient:
    """What a pass over a minibatch saw; the gradient itself is in the optimizer."""

    loss: float = 0.0
    tally: Tally = field(default_factory=Tally)
    traces: dict[int, Trace] = field(default_factory=dict)


class Passes:
    """Reads rollouts through the policy, with or without gradient.

    Args:
        scorer: of the policy.
        objective: the loss.
        optimizer: accumulates the policy's gradient.
        critic: PPO's, which accumulates its own.
        budget: how many tokens go into a micro-batch.
        ranks: the processes that share the work.
    """

    def __init__(
        self,
        scorer: Scorer,
        objective: Objective,
        optimizer: Optimizer,
        critic: Critic | None,
        budget: TokenBudget,
        ranks: Ranks,
    ) -> None:
        self._scorer, self._objective, self._optimizer, self._critic = scorer, objective, optimizer, critic
        self._budget, self._ranks = budget, ranks

    def by_sample(
        self, samples: Sequence[TrainSample], score: Score, check: Callable[[], None]
    ) -> list[NDArray[np.float32]]:
        """One number for each token of each sample, without gradient.

        Args:
            samples: of the whole step.
            score: computes them for a micro-batch.
            check: called between micro-batches; may raise `UpdateStopped`.
        """
        shortest = [[min(samples, key=_tokens)]]

        def attempt() -> dict[int, NDArray[np.float32]]:
            found: dict[int, NDArray[np.float32]] = {}

            def read(part: Sequence[Sequence[int]]) -> None:
                chosen = list(itertools.chain.from_iterable(part))
                scores_N = score([[samples[i] for i in row] for row in part]).cpu().numpy()
                ends = np.cumsum([len(samples[i].completion_ids_T) for i in chosen])[:-1]
                found.update(zip(chosen, np.split(scores_N, ends), strict=True))

            self._each(self._budget.cut(samples), read, lambda: score(shortest), check)
            return found

        with torch.no_grad():
            own = self._budget.within(attempt)
        together = {i: scores_T for found in self._ranks.gather(own) for i, scores_T in found.items()}
        return [together[i] for i in range(len(samples))]

    def gradient(
        self, examples: Sequence[Example], check: Callable[[], None], *, first: bool, traced: bool
    ) -> Gradient:
        """Compute the gradient of a minibatch, again from the start if memory runs out."""
        seen = self._budget.within(lambda: self._gradient(examples, check, first=first, traced=traced))
        self._optimizer.reduce(self._ranks.reduce_policy)
        if self._critic is not None:
            self._critic.optimizer.reduce(self._ranks.reduce)
        total = Gradient()
        for share in self._ranks.gather(seen):
            total.loss += share.loss
            total.tally.take(share.tally)
            total.traces.update(share.traces)
        return total

    def clear(self) -> None:
        """Forget the gradient, the critic's too."""
        self._optimizer.clear()
        if self._critic is not None:
            self._critic.optimizer.clear()

    def _gradient(
        self, examples: Sequence[Example], check: Callable[[], None], *, first: bool, traced: bool
    ) -> Gradient:
        model, result = self._scorer.model, Gradient()

        def learn(part: Sequence[Sequence[int]]) -> None:
            rows = [[examples[i] for i in row] for row in part]
            share = self._objective.share(rows, result.tally, first=first, traced=traced)
            (share.loss + share.value_loss).backward()  # type: ignore[no-untyped-call]
            self._optimizer.collect()
            result.loss += float(share.loss.detach())
            result.traces.update(share.traces)

        def idle() -> None:
            shortest = min((example.sample for example in examples), key=_tokens)
            self._objective.nothing([[shortest]]).backward()  # type: ignore[no-untyped-call]
            self._optimizer.collect()

        self.clear()
        model.train(model.is_gradient_checkpointing)  # transformers checkpoints in training mode only; dropout is 0
        try:
            self._each(self._budget.cut([example.sample for example in examples]), learn, idle, check)
            self._ranks.check(check)  # once more, before the weights move
        except BaseException:
            self.clear()
            raise
        finally:
            model.eval()
        return result

    def _each(
        self,
        parts: Sequence[Sequence[Sequence[int]]],
        work: Callable[[Sequence[Sequence[int]]], None],
        idle: Callable[[], object],
        check: Callable[[], None],
    ) -> None:
        """Work through this rank's micro-batches."""
        self._ranks.each([partial(work, part) if part else None for part in parts], idle, check)


def _tokens(sample: TrainSample) -> int:
    return len(sample.prompt_ids_P) + len(sample.completion_ids_T)
