"""The sides of `bench/step.py` that are not azr: a recorded step inside TRL's GRPOTrainer, and on a vLLM server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from step_azr import configuration, random_policy
from step_programs import Pool, Runner, Subprocesses
from step_sampling import Rows, batched, draws, paged, rows_of
from step_work import PHASES, Answer, Clock, Line, Work, work_path
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Host:
    """Replays recorded steps in a GRPOTrainer.

    Args:
        model: that samples and learns.
        tokenizer: the model's.
        config: the demo's, for its optimizer.
        sample: completes rows to their lengths.
        runner: runs the programs.
        micro: rows per micro-batch of the update, at most; 0: as many as a minibatch has.
        folder: for the trainer, which writes nothing there.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: Any,
        sample: Callable[[Any, Rows], list[list[int]]],
        runner: Runner,
        *,
        micro: int,
        folder: Path,
    ) -> None:
        self.model, self.work = model, Work()
        self._tokenizer, self._config, self._sample, self._runner = tokenizer, config, sample, runner
        self._micro, self._folder = micro, folder
        learner = config.learner
        options = {"lr": learner.lr, "betas": learner.betas, "weight_decay": learner.weight_decay}
        self._optimizer = torch.optim.AdamW(model.parameters(), fused=model.device.type == "cuda", **options)
        self._trainer: Any = None
        self._shape: tuple[int, int] | None = None
        self._counts: dict[str, float] = {}
        self._clock: Clock | None = None

    def replay(self, work: Work) -> Answer:
        """Do a step's work: sample, run programs, update."""
        self.work, self._counts, self._clock = work, {}, None
        self._prepare(len(work.trained))
        # Row norms' weights are few, and every update moves them.
        probe = next(tensor for tensor in self.model.parameters() if tensor.dim() == 1)
        before = probe.detach().clone()
        self._trainer.train()
        assert self._clock is not None
        moved = float((probe.detach() - before).abs().max())
        return Answer(self._clock.stages, self._counts | {"moved": moved})

    def begin(self) -> None:
        """The trainer begins an optimizer step, the first of which samples."""
        self._clock = self._clock or Clock()

    def lap(self, stage: str) -> None:
        """A stage has ended."""
        assert self._clock is not None
        self._clock.lap(stage)

    def rollout(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's rollout hook: proposals, their programs, attempts, their programs.

        TRL does not read log-probabilities of the sampler unless it samples with vLLM, so none are returned.
        """
        self.lap("rest")
        self.model.eval()
        drawn: list[int] = []
        ran, values = 0, 0
        for phase in PHASES:
            requests, programs = self.work.of(phase)
            if rows := rows_of(requests):
                with torch.no_grad():
                    lengths = [len(row) for row in self._sample(self.model, rows)]
                if lengths != [length for _, length in rows]:
                    raise RuntimeError(f"{phase}: rows have other lengths than azr's")
                drawn += lengths
            self.lap("generate")
            gave = self._runner.run(programs)
            ran, values = ran + len(gave), values + sum(map(sum, gave))
            self.lap("programs")
        self.model.train()
        trained = self.work.trained[: len(prompts)]
        self._counts |= {
            "prompts": len(self.work.requests),
            "rows": len(drawn),
            "tokens": sum(drawn),
            "programs": ran,
            "values": values,
            "rollouts": len(trained),
        }
        return {
            "prompt_ids": [one.prompt_ids for one in trained],
            "completion_ids": [one.completion_ids for one in trained],
            "logprobs": None,
            "advantage": [one.advantage for one in trained],
        }

    def _prepare(self, rollouts: int) -> None:
        """Make a trainer for so many rollouts, unless the last one was for as many."""
        shape = micro_batches(rollouts, self._config.learner.minibatches, self._micro)
        if shape == self._shape:
            return
        self._shape = shape
        self.model.__dict__.pop("forward", None)  # an earlier trainer's
        self._trainer = _Trainer(
            self,
            model=self.model,
            processing_class=self._tokenizer,
            args=self._arguments(*shape),
            train_dataset=Dataset.from_dict({"prompt": ["a step of self-play"]}),
            reward_funcs=advantage,
            rollout_func=self.rollout,
            callbacks=[_Steps(self)],
            optimizers=(self._optimizer, None),
        )
        self._trainer.remove_callback(PrinterCallback)

    def _arguments(self, rows: int, accumulated: int) -> GRPOConfig:
        learner, cuda = self._config.learner, self.model.device.type == "cuda"
        minibatches = learner.minibatches
        return GRPOConfig(
            output_dir=str(self._folder),
            max_steps=minibatches,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulated,
            steps_per_generation=minibatches * accumulated,
            # One group of all rollouts: advantages sum to zero, so that TRL leaves them as they are.
            num_generations=minibatches * accumulated * rows,
            max_completion_length=max(len(one.completion_ids) for one in self.work.trained),
            learning_rate=learner.lr,
            max_grad_norm=learner.grad_clip,
            lr_scheduler_type="constant",
            scale_rewards="none",
            beta=0.0,
            epsilon=self._config.algorithm.clip_low,
            epsilon_high=self._config.algorithm.clip_high,
            gradient_checkpointing=cuda,
            bf16=False,  # the weights have their precision already
            use_cpu=not cuda,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )


def micro_batches(rollouts: int, minibatches: int, most: int) -> tuple[int, int]:
    """Rows per micro-batch, and micro-batches per minibatch. TRL's are all equal, so a few rollouts may be left out."""
    rows = rollouts // minibatches
    accumulated = -(-rows // (most or rows))
    return rows // accumulated, accumulated


def advantage(prompts: Sequence[str], advantage: list[float], **_: Any) -> list[float]:
    """The recorded advantage, as the only reward."""
    return advantage


class _Trainer(GRPOTrainer):
    """Tells the host when rollouts are ready to learn from."""

    def __init__(self, host: Host, **options: Any) -> None:
        self._host = host
        super().__init__(**options)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        self._host.lap("score")
        return batch


class _Steps(TrainerCallback):
    """Tells the host of optimizer steps."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._host.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._host.lap("update")


def load(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The model of the step and its tokenizer, as azr loads them."""
    from azr.train.start import load_policy

    if arguments.shapes == "tiny":
        policy = load_policy(configuration(arguments))
    else:
        policy = random_policy(arguments)
        policy.model.lm_head.__class__ = torch.nn.Linear  # rows end where the recorded ones did
    torch.set_num_threads(arguments.host_threads)
    return policy.model, policy.tokenizer


def side(arguments: argparse.Namespace, *, runner: Runner, pages: bool, folder: Path, line: Line) -> None:
    """Replay the step whose number comes on standard input, for each line of it."""
    model, tokenizer = load(arguments)
    pad = tokenizer.pad_token_id

    def sample(model: Any, rows: Rows) -> list[list[int]]:
        return paged(model, rows, pad) if pages else batched(model, rows, pad, arguments.host_batch)

    config = configuration(arguments)
    host = Host(model, tokenizer, config, sample, runner, micro=arguments.host_rows, folder=folder / "trl")
    line.ready()
    for step in line.steps():
        line.answer(host.replay(Work.read(work_path(folder, step))))
    runner.close()
    if pages:
        model.destroy_cached_continuous_batching_manager()


def hosts() -> dict[str, Callable[[], tuple[Runner, bool]]]:
    """Sides inside TRL by name: how programs run, and whether continuous batching samples."""
    return {
        "trl-subprocess": lambda: (Subprocesses(), False),
        "trl-pool": lambda: (Pool(), False),
        "trl-paged": lambda: (Pool(), True),
    }


def vllm_side(arguments: argparse.Namespace, *, folder: Path, line: Line) -> None:
    """Sample the rows of each recorded step on a vLLM server, both phases in turn, and nothing else."""
    from azr.rollout.vllm.server import VLLMServer

    async def go() -> None:
        server = VLLMServer(arguments.vllm, key="", connections=256, attempts=1, timeout_seconds=600)
        await server.meet(longest=1, logprobs_mode=None, stale=False)
        line.ready()
        async for step in line.awaited_steps():
            work, clock, drawn = Work.read(work_path(folder, step)), Clock(), list[int]()
            for phase in PHASES:
                drawn += await asyncio.gather(*draws(server, rows_of(work.of(phase)[0]), step))
            clock.lap("generate")
            line.answer(Answer(clock.stages, {"rows": len(drawn), "tokens": sum(drawn)}))
        await server.close()

    asyncio.run(go())


def quiet() -> None:
    """No warnings of transformers and TRL: the sides speak through `bench/step.py`."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
