"""Absolute Zero inside a GRPOTrainer of your own (the TRL library).

    from trl import GRPOConfig, GRPOTrainer
    from azr.sandbox import make_sandbox
    from azr.train.start import resolve
    from azr.integrations.trl import AbsoluteZero

    config = resolve("demo", ["selfplay.learn_from_samples=false"])
    zero = AbsoluteZero(config, model, tokenizer, make_sandbox(**config.sandbox.choice))
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(output_dir="out", max_steps=config.steps, **zero.arguments),
        train_dataset=zero.dataset,
        reward_funcs=zero.reward_funcs,
        rollout_func=zero.rollout_func,
    )
    trainer.train()

Six dummy prompts, one for each role and kind, stand for the cells of TRR++; each is repeated `selfplay.batch_size`
times, and the rollout hook plays a step and returns prompts and completions of its own. Advantages are Eq. 8's exactly:
they go in as the reward that counts, and TRL neither scales them nor, since they sum to zero in each cell, shifts them.
The rewards of Eq. 4-6 stand beside them with weight 0, so that TRL logs their mean. One process; the buffers are not
part of TRL's checkpoints.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from datasets import Dataset

from azr.algorithms.registry import TRRPlusPlus
from azr.config import Config
from azr.domains import registry
from azr.errors import UserError
from azr.models.load import wrap
from azr.rollout.local.generator import LocalGenerator
from azr.sandbox.base import Sandbox
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.records import StepRecord
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.types import Role, Rollout

T = TypeVar("T")


class AbsoluteZero:
    """What a GRPOTrainer needs to play: dataset, rollout hook, reward functions and arguments.

    Args:
        config: domain, self-play, buffers, generation and rewards; the rest is the trainer's.
        model: the very model that the trainer gets.
        tokenizer: its tokenizer.
        sandbox: runs what the model writes (`azr.sandbox.make_sandbox`).
        on_step: told what each step did.

    Raises:
        UserError: cells would differ in size, or TRL would change the advantages.
    """

    def __init__(
        self,
        config: Config,
        model: Any,
        tokenizer: Any,
        sandbox: Sandbox,
        *,
        on_step: Callable[[StepRecord], None] | None = None,
    ) -> None:
        _check(config)
        domain = registry.make_domain(config.domain, config.sandbox)
        policy = wrap(model, tokenizer)
        self._config, self._kinds, self._model, self._on_step = config, domain.kinds, model, on_step
        generator = LocalGenerator(policy, config.generation, seed=config.seed)
        parts = Parts(domain, generator, sandbox, policy.renderer(chat=config.domain.style == "chat"))
        self._selfplay = SelfPlay(config, parts, TaskBuffer(buffer_kinds(domain), config.buffer))
        self._steps: Iterator[int] | None = None
        # A loop in a thread of its own: the trainer's thread may have one already, as in a notebook.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="azr-play", daemon=True).start()

    @property
    def dataset(self) -> Dataset:
        """One dummy prompt for each role and kind."""
        return Dataset.from_dict({"prompt": [f"{role}/{kind}" for role in Role for kind in self._kinds]})

    @property
    def reward_funcs(self) -> list[Callable[..., list[float]]]:
        """The composite reward, for the log, and the advantage, which counts."""
        return [self_play_reward, trr_advantage]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of GRPOConfig that the hook relies on; one optimizer step a step of self-play."""
        rows = len(Role) * len(self._kinds) * self._config.selfplay.batch_size
        return {
            "per_device_train_batch_size": rows,
            "num_generations": self._config.selfplay.batch_size,
            "reward_weights": [0.0, 1.0],
            "scale_rewards": "none",
            "temperature": self._config.generation.temperature,
        }

    def rollout_func(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's rollout hook: play one step; a rollout of its cell for each prompt."""
        training = self._model.training
        self._model.eval()
        record = self._await(self._play(trainer.state.global_step))
        self._model.train(training)
        if self._on_step is not None:
            self._on_step(record)
        estimates = TRRPlusPlus().estimate(record.rollouts, self._config.algorithm)
        cells: dict[str, list[tuple[Rollout, float]]] = defaultdict(list)
        for rollout, estimate in zip(record.rollouts, estimates, strict=True):
            cells["/".join(rollout.cell)].append((rollout, float(estimate.advantages_T[0])))
        chosen = [(cells[prompt].pop(0) if cells[prompt] else _short(prompt)) for prompt in prompts]
        samples = [rollout.sample for rollout, _ in chosen]
        return {
            "prompt_ids": [list(sample.prompt_ids) for sample in samples],
            "completion_ids": [list(sample.completion_ids) for sample in samples],
            "logprobs": [list(sample.logprobs) for sample in samples],
            "azr_reward": [rollout.reward for rollout, _ in chosen],
            "azr_advantage": [advantage for _, advantage in chosen],
        }

    async def _play(self, done: int) -> StepRecord:
        if self._steps is None:
            await self._selfplay.seed()
            self._steps = iter(range(done + 1, 2**63))
        return await self._selfplay.step(next(self._steps))

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def self_play_reward(prompts: Sequence[str], azr_reward: list[float], **_: Any) -> list[float]:
    """The composite reward of Eq. 6."""
    return azr_reward


def trr_advantage(prompts: Sequence[str], azr_advantage: list[float], **_: Any) -> list[float]:
    """The advantage of Eq. 8."""
    return azr_advantage


def _short(cell: str) -> tuple[Rollout, float]:
    raise UserError(f"{cell}: fewer rollouts than selfplay.batch_size; start from more seed tasks")


def _check(config: Config) -> None:
    play, algorithm = config.selfplay, config.algorithm
    if play.learn_from_samples or not play.train_proposer or play.solver_mix == "new_only":
        raise UserError(
            "a GRPOTrainer wants groups of one size: set selfplay.learn_from_samples = false,"
            " selfplay.train_proposer = true and selfplay.solver_mix = new_first or uniform"
        )
    if play.seed_file is not None or not play.learn:
        raise UserError("selfplay.seed_file and selfplay.learn = false are for azr train; leave them out here")
    if algorithm.name != "trr++" or algorithm.whiten != "rollout":
        raise UserError(
            f"algorithm.name = {algorithm.name}, whiten = {algorithm.whiten}: a GRPOTrainer subtracts the mean of each"
            " group, which leaves only trr++ with whiten = rollout as it is; the trainer has siblings of its own"
        )
