"""`algorithm.name = "ppo"`: TRL's trainer as the run's learner.

TRL's loop asks its rollout hook for a batch whenever it wants one; the run's loop plays a step, then wants it learnt.
The hook is where both meet: the trainer runs in a thread of its own and waits there, between two optimizer steps, for
the next step of self-play. So a PPO run has the same directory, events, metrics and checkpoints as any other, and goes
on from them exactly.
"""

from __future__ import annotations

import math
import os
import queue
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from azr.config import Config
from azr.errors import UserError

try:  # first, so that nothing else has been imported, or said, when it is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that trl looks for; none is ours
        from trl import GRPOConfig
except ImportError as error:
    raise UserError(
        f"algorithm.name = ppo needs the extra `trl` ({error}); install it with: pip install 'azr[trl]'"
    ) from error

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import PrinterCallback

from azr.integrations.ppo import Critic, PPOTrainer
from azr.policy.base import Observer, Trace, Trainee
from azr.policy.load import LanguageModel, quiet
from azr.policy.optimizer import beyond_bounds, learning_rate
from azr.types import Sample


class TrlLearner:
    """Learns by PPO in TRL's trainer (the `Learner` protocol).

    Args:
        policy: the model that learns, in place. Weights in bfloat16 become float32, which TRL then computes with in
            mixed precision: in bfloat16 itself, steps at small learning rates would be lost to rounding.
        config: the run's; TRL has no counterpart for some of its settings.
        kinds: how many are played.

    Raises:
        UserError: such a setting differs from what TRL does.
    """

    def __init__(self, policy: LanguageModel, config: Config, *, kinds: int) -> None:
        _check(config, policy)
        self._policy, self._config = policy, config
        mixed = policy.model.dtype == torch.bfloat16
        policy.model.float()
        self._critic = Critic(policy.model)
        self._folder = tempfile.TemporaryDirectory(prefix="azr-trl-", ignore_cleanup_errors=True)
        self._rows = _capacity(config, kinds)
        self._passes = config.learner.epochs * config.learner.minibatches
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the rollout hook is pinned by our constraints
        with quiet():
            self._trainer = PPOTrainer(
                model=policy.model,
                processing_class=policy.tokenizer,
                args=_arguments(config, self._rows, self._folder.name, mixed=mixed, device=policy.device.type),
                train_dataset=Dataset.from_dict({"prompt": ["self-play"] * (self._rows // 2)}),
                reward_funcs=_no_reward,
                rollout_func=self._rollouts,
                critic=self._critic,
                ppo=config.algorithm.ppo,
                rate=self._rate,
                token_rewards=self._token_rewards,
                observe=self._observed,
            )
        self._trainer.remove_callback(PrinterCallback)
        self._given: Sequence[Trainee] = ()
        self._observer: Observer | None = None
        self._todo: queue.SimpleQueue[Sequence[Trainee]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.updates = 0

    def penalties(self, samples: Sequence[Sample]) -> list[float]:
        """Zeros: the divergence is in TRL's loss."""
        return [0.0] * len(samples)

    def update(self, trainees: Sequence[Trainee], observe: Observer | None = None) -> Mapping[str, float]:
        """Let the trainer take its steps on these rollouts (see the protocol).

        Args:
            trainees: their `advantages` are rewards of tokens, of which the critic makes advantages.
            observe: told what each step saw of each of them.

        Raises:
            FloatingPointError: the loss is not finite, and the weights stay as they were before that step; or the steps
                drove them beyond bounds, and only a checkpoint has what they were.
        """
        self._begin()
        self._observer = observe
        self._todo.put(trainees)
        self._await()
        if beyond_bounds((*self._policy.model.parameters(), *self._critic.parameters())):
            raise FloatingPointError(f"update {self.updates}: the steps drove the weights beyond all bounds")
        self.updates += 1
        steps = [log for log in self._trainer.state.log_history if "grad_norm" in log]
        metrics = _metrics(steps[-self._passes :])
        return metrics | {"tokens": float(sum(len(trainee.completion_ids) for trainee in trainees))}

    def save(self, folder: Path) -> None:
        """Write `model/` (a plain Hugging Face folder) and `trl.pt` (critic, optimizer, schedule, counters)."""
        self._begin()
        self._policy.export(folder / "model")
        state = {
            "critic": self._critic.state_dict(),
            "optimizer": self._trainer.optimizer.state_dict(),
            "schedule": self._trainer.lr_scheduler.state_dict(),
            "updates": self.updates,
            "rng": torch.get_rng_state(),
        }
        with (folder / "trl.pt").open("wb") as file:  # given a path, torch would not say that the disk is full
            torch.save(state, file)

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote, exactly.

        Raises:
            UserError: the folder is not complete, or belongs to another model or algorithm.
        """
        self._begin()
        try:
            self._policy.restore(folder / "model")
            state = torch.load(folder / "trl.pt", weights_only=True, map_location="cpu")
            self._critic.load_state_dict(state["critic"])
            self._trainer.optimizer.load_state_dict(state["optimizer"])
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: not a checkpoint of this model: {str(error).splitlines()[0]}") from error
        self._trainer.lr_scheduler.load_state_dict(state["schedule"])
        self.updates = state["updates"]
        self._trainer.state.global_step = self.updates * self._passes
        torch.set_rng_state(state["rng"])

    # The trainer's thread, and the hook in which it waits

    def _begin(self) -> None:
        """Start the trainer and wait until it asks for its first batch."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._host, name="azr-trl", daemon=True)
            self._thread.start()
            self._await()

    def _await(self) -> None:
        error = self._done.get()
        if error is not None:
            raise error

    def _host(self) -> None:
        try:
            self._trainer.train()
            self._trainer.accelerator.end_training()
        except BaseException as error:  # handed to the thread that waits for it
            self._done.put(error)
        else:
            self._done.put(None)

    def _rollouts(self, prompts: list[str], trainer: PPOTrainer) -> dict[str, Any]:
        """TRL's rollout hook: say that the steps before are done, and wait for the next rollouts.

        TRL cuts a batch into as many micro-batches as one of the usual size has, all of one size. A step with fewer
        rollouts is filled up with rows of one token that counts for nothing; one with more, as where attempts at
        duplicates are learnt from besides, makes the micro-batches larger.
        """
        model = self._policy.model
        model.eval()
        self._done.put(None)
        self._given = self._todo.get()
        model.train()
        unit = math.lcm(2, self._trainer.args.steps_per_generation)
        fill = max(self._rows, -(-len(self._given) // unit) * unit) - len(self._given)
        filler = ([self._policy.eos_ids[0]], [0.0], [0])
        return {
            "prompt_ids": [list(trainee.prompt_ids) for trainee in self._given] + [filler[0]] * fill,
            "completion_ids": [list(trainee.completion_ids) for trainee in self._given] + [filler[0]] * fill,
            "logprobs": [list(trainee.logprobs) for trainee in self._given] + [filler[1]] * fill,
            "env_mask": [[1] * len(trainee.completion_ids) for trainee in self._given] + [filler[2]] * fill,
        }

    def _rate(self, steps: int) -> float:
        learner = self._config.learner
        return learning_rate(learner, steps // self._passes, self._config.steps) / learner.lr

    def _token_rewards(self) -> list[tuple[float, ...]]:
        return [trainee.advantages for trainee in self._given]

    def _observed(self, index: int, trace: Trace) -> None:
        if self._observer is not None:
            self._observer(index, trace)


def _no_reward(prompts: list[str], **_: Any) -> list[float]:
    """What TRL's groups would be made of; the critic takes rewards token by token instead."""
    return [0.0] * len(prompts)


def _capacity(config: Config, kinds: int) -> int:
    """Rollouts of a usual step, at most; rounded up to an even number (TRL wants pairs) that minibatches divide."""
    play = config.selfplay
    attempts = play.samples if play.learn_from_samples else 1
    most = kinds * play.batch_size * (attempts + play.train_proposer)
    unit = 2 * config.learner.minibatches
    return -(-most // unit) * unit


def _arguments(config: Config, rows: int, folder: str, *, mixed: bool, device: str) -> GRPOConfig:
    """The run's settings in TRL's words."""
    learner, algorithm, generation = config.learner, config.algorithm, config.generation
    longest = generation.max_prompt_tokens + max(generation.max_propose_tokens, generation.max_solve_tokens)
    minibatch = rows // learner.minibatches
    micro = max(
        n for n in range(1, minibatch + 1) if minibatch % n == 0 and (n == 1 or n * longest <= learner.token_budget)
    )
    return GRPOConfig(
        output_dir=folder,
        max_steps=config.steps * learner.epochs * learner.minibatches,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=minibatch // micro,
        steps_per_generation=rows // micro,
        num_generations=2,
        num_iterations=learner.epochs,
        learning_rate=learner.lr,
        adam_beta1=learner.betas[0],
        adam_beta2=learner.betas[1],
        weight_decay=learner.weight_decay,
        max_grad_norm=learner.grad_clip,
        epsilon=algorithm.clip_low,
        epsilon_high=algorithm.clip_high,
        delta=algorithm.dual_clip,
        beta=algorithm.kl_coefficient,
        entropy_coef=algorithm.entropy_coefficient,
        loss_type="dapo",  # every token counts the same: aggregation = token_mean
        scale_rewards="none",
        temperature=generation.temperature,
        seed=config.seed,
        bf16=mixed,
        use_cpu=device == "cpu",
        gradient_checkpointing=config.model.gradient_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _check(config: Config, policy: LanguageModel) -> None:
    fixed = {
        "algorithm.aggregation": (config.algorithm.aggregation, "token_mean"),
        "algorithm.importance_cap": (config.algorithm.importance_cap, None),
        "algorithm.kl_in": (config.algorithm.kl_in, "loss"),
        "algorithm.kl_estimator": (config.algorithm.kl_estimator, "k3"),
        "learner.optimizer": (config.learner.optimizer, "adamw"),
        "learner.offload": (config.learner.offload, False),
    }
    for name, (asked, known) in fixed.items():
        if asked != known:
            raise UserError(
                f"{name} = {asked}: algorithm.name = ppo runs in TRL, which knows only {known or 'none'}; leave it out"
            )
    if policy.model.dtype == torch.float16:
        raise UserError("model.dtype = float16 cannot be trained here; use bfloat16 or float32")


def _metrics(logs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """TRL's log lines of an update, under the names of `PolicyLearner.update`."""
    names = {
        "loss": "loss",
        "grad_norm": "grad_norm",
        "learning_rate": "lr",
        "entropy": "entropy",
        "clip_ratio/region_mean": "clip_share",
        "kl": "kl",
        "value_loss": "value_loss",
    }
    return {ours: fmean(log[theirs] for log in logs) for theirs, ours in names.items() if theirs in logs[0]}
