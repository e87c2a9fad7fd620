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

The dataset has a dummy prompt for each cell of TRR++ (role and kind), repeated `selfplay.batch_size` times. The rollout
hook plays a step and returns its own prompts and completions. Advantages are exactly those of Eq. 8: they are passed as
the only weighted reward, which TRL does not scale, nor shift, as it sums to zero in each cell. The rewards of Eq. 4-6
have weight 0, so that TRL logs their mean. Works in one process only; TRL's checkpoints do not include the buffers.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

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
from azr.selfplay.seeding import seed
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.types import Role, Rollout


class AbsoluteZero:
    """What a GRPOTrainer needs for self-play: dataset, rollout hook, reward functions and arguments.

    Args:
        config: domain, self-play, buffers, generation and rewards; all else is configured in the trainer.
        model: the same object that the trainer gets.
        tokenizer: the model's.
        sandbox: runs the model's programs (`azr.sandbox.make_sandbox`).
        on_step: called with the record of each step.

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
        self._step: int | None = None
        # The loop has its own thread: the trainer's may be running one already, as in a notebook.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="azr-play", daemon=True).start()

    @property
    def dataset(self) -> Dataset:
        """One dummy prompt for each role and kind."""
        return Dataset.from_dict({"prompt": [f"{role}/{kind}" for role in Role for kind in self._kinds]})

    @property
    def reward_funcs(self) -> list[Callable[..., list[float]]]:
        """The composite reward, which is only logged, and the advantage."""
        return [self_play_reward, trr_advantage]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of GRPOConfig that the hook relies on: one optimizer step per step of self-play."""
        rows = len(Role) * len(self._kinds) * self._config.selfplay.batch_size
        return {
            "per_device_train_batch_size": rows,
            "num_generations": self._config.selfplay.batch_size,
            "reward_weights": [0.0, 1.0],
            "scale_rewards": "none",
            "temperature": self._config.generation.temperature,
        }

    def rollout_func(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's rollout hook: play one step; returns a rollout of its cell for each prompt."""
        training = self._model.training
        self._model.eval()
        work = self._play(trainer.state.global_step)
        record = asyncio.run_coroutine_threadsafe(work, self._loop).result()
        self._model.train(training)
        if self._on_step is not None:
            self._on_step(record)
        estimates = TRRPlusPlus().estimate(record.rollouts, self._config.algorithm)
        cells: dict[str, list[tuple[Rollout, float]]] = defaultdict(list)
        for rollout, estimate in zip(record.rollouts, estimates, strict=True):
            cells["/".join(rollout.cell)].append((rollout, float(estimate.advantages_T[0])))
        chosen = []
        for prompt in prompts:
            if not cells[prompt]:
                raise UserError(f"{prompt}: fewer rollouts than selfplay.batch_size; start from more seed tasks")
            chosen.append(cells[prompt].pop(0))
        samples = [rollout.sample for rollout, _ in chosen]
        return {
            "prompt_ids": [list(sample.prompt_ids) for sample in samples],
            "completion_ids": [list(sample.completion_ids) for sample in samples],
            "logprobs": [list(sample.logprobs) for sample in samples],
            "azr_reward": [rollout.reward for rollout, _ in chosen],
            "azr_advantage": [advantage for _, advantage in chosen],
        }

    async def _play(self, done: int) -> StepRecord:
        if self._step is None:
            async for _ in seed(self._selfplay):
                pass
            self._step = done
        self._step += 1
        return await self._selfplay.step(self._step)


def self_play_reward(prompts: Sequence[str], azr_reward: list[float], **_: Any) -> list[float]:
    """The composite reward of Eq. 6."""
    return azr_reward


def trr_advantage(prompts: Sequence[str], azr_advantage: list[float], **_: Any) -> list[float]:
    """The advantage of Eq. 8."""
    return azr_advantage


def _check(config: Config) -> None:
    play, algorithm = config.selfplay, config.algorithm
    if play.learn_from_samples or not play.train_proposer or play.solver_mix == "new_only":
        raise UserError(
            "a GRPOTrainer needs groups of equal size: set selfplay.learn_from_samples = false,"
            " selfplay.train_proposer = true and selfplay.solver_mix = new_first or uniform"
        )
    if play.seed_file is not None or not play.learn or play.shows:
        raise UserError(
            "selfplay.seed_file, selfplay.learn = false, selfplay.search.gold, selfplay.search.relabelled and"
            " selfplay.relabel are for azr train; leave them out here"
        )
    if algorithm.name != "trr++" or algorithm.whiten != "rollout":
        raise UserError(
            f"algorithm.name = {algorithm.name}, whiten = {algorithm.whiten}: a GRPOTrainer subtracts the mean of each"
            " group, which leaves only trr++ with whiten = rollout as it is; the trainer has siblings of its own"
        )
