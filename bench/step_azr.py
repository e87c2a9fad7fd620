"""The sides of `bench/step.py` that are azr: as it is, in one or several processes, and as an earlier commit was."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from step_work import Answer, Clock, Line, RecordingGenerator, RecordingSandbox, Trained, Work, texts_of, work_path

NEW = 256
"""Most tokens of a completion with random weights; a quarter of it on average."""
BUDGET = 16384
"""Tokens per micro-batch with random weights, as in bench/gpu.py."""


def side(arguments: argparse.Namespace, *, processes: int, record: Path | None, line: Line) -> None:
    """Play a step of the demo for each line of standard input, and learn from it.

    Args:
        arguments: device, shapes and settings.
        processes: that share each step.
        record: folder for the work of each step; None: it is not written.
        line: to bench/step.py.
    """
    from azr.train.ranks import leading

    with leading(configuration(arguments, f"learner.processes={processes}")) as (config, leader):
        asyncio.run(_play(arguments, config, leader, record, line))


def configuration(arguments: argparse.Namespace, *more: str) -> Any:
    """The demo's, on the device that is asked for, with the settings of the command line."""
    from azr.train.start import resolve

    random = arguments.shapes != "tiny"
    large = ["learner.optimizer=adamw-fused", f"learner.token_budget={BUDGET}"] if random else []
    return resolve("demo", [f"model.device={arguments.device}", *large, *more, *arguments.settings])


async def _play(arguments: argparse.Namespace, config: Any, leader: Any, record: Path | None, line: Line) -> None:
    from azr.selfplay.buffer import TaskBuffer
    from azr.selfplay.seeding import seed
    from azr.selfplay.step import SelfPlay, buffer_kinds
    from azr.train.learning import learn
    from azr.train.stopping import Stop

    if leader:
        leader.guard(lambda: None)
    async with _parts(arguments, config, leader) as parts:
        recorder: RecordingGenerator = parts.generator
        play = SelfPlay(config, parts, TaskBuffer(buffer_kinds(parts.domain), config.buffer))
        async for _ in seed(play):
            pass
        if record:
            recorder.work.write(work_path(record, 0))
        line.ready()
        async for step in line.awaited_steps():
            recorder.work, clock = Work(), Clock()
            played = await play.step(step)
            clock.lap("play")
            traced = config.events.tokens_every > 0 and step % config.events.tokens_every == 0
            learnt = await learn(parts.learner, played.rollouts, config.algorithm, traced=traced, stop=Stop())
            clock.lap("update")
            await parts.generator.update_weights(step, parts.learner.weights())
            clock.lap("rest")
            recorder.work.trained = _trained(learnt)
            if record:
                recorder.work.write(work_path(record, step))
            line.answer(Answer(clock.stages, recorder.work.counts(), _shares(played)))


def _shares(played: Any) -> dict[str, float]:
    """How the time of a step's coroutines divides, in which sampling and sandbox overlap."""
    shares = played.stopwatch.shares(1.0)
    sampling = shares.get("propose", 0.0) + shares.get("solve", 0.0)
    return {"sampling": sampling, "sandbox": 1 - sampling}


def _trained(learnt: Any) -> list[Trained]:
    return [
        Trained(list(rollout.sample.prompt_ids), list(rollout.sample.completion_ids), float(estimate.advantages_T[0]))
        for rollout, estimate in zip(learnt.rollouts, learnt.estimates, strict=True)
    ]


@asynccontextmanager
async def _parts(arguments: argparse.Namespace, config: Any, leader: Any) -> AsyncIterator[Any]:
    """The parts of the run, with a generator and a sandbox that note what they are asked."""
    from azr.train.start import open_parts

    if arguments.shapes != "tiny":
        async with _random_parts(arguments, config) as parts:
            yield parts
        return
    async with open_parts(config, leader.ranks if leader else None) as parts:
        recorder = RecordingGenerator(parts.generator)
        yield replace(parts, generator=recorder, sandbox=RecordingSandbox(parts.sandbox, recorder))


def random_policy(arguments: argparse.Namespace) -> Any:
    """Random weights of bench/gpu.py."""
    import torch
    from gpu import build

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    shape = "tiny" if arguments.shapes == "random" else arguments.shapes
    return build(shape, torch.device(arguments.device), NEW)


@asynccontextmanager
async def _random_parts(arguments: argparse.Namespace, config: Any) -> AsyncIterator[Any]:
    """Random weights in larger shapes, which sample and learn; what they write is taken from the nursery's steps."""
    from azr.domains import registry
    from azr.models import shipped
    from azr.models.load import load_text
    from azr.sandbox.factory import make_sandbox
    from azr.train.start import make_generator, make_learner
    from azr.train.training import TrainingParts

    policy = random_policy(arguments)
    policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recorder = RecordingGenerator(make_generator(config, policy), _script(arguments.script))
    sandbox = make_sandbox(**config.sandbox.choice)
    try:
        yield TrainingParts(
            domain=registry.make_domain(config.domain, config.sandbox),
            generator=recorder,
            sandbox=RecordingSandbox(sandbox, recorder),
            render=load_text(shipped.resolve("nursery")).renderer(chat=False),
            learner=make_learner(config, policy),
            export=None,
        )
    finally:
        await sandbox.close()


def _script(folder: Path) -> dict[str, list[str]]:
    return texts_of(folder, range(len(list(folder.glob("step-*.json")))))


def earlier(arguments: argparse.Namespace, line: Line) -> None:
    """The same as `side` with the azr of an earlier commit, whichever of the two layouts it has."""
    try:
        import azr.train.start  # noqa: F401
    except ModuleNotFoundError:
        asyncio.run(_play_earlier(arguments, line))
    else:
        side(arguments, processes=1, record=None, line=line)


async def _play_earlier(arguments: argparse.Namespace, line: Line) -> None:
    """A step as `azr.train.Training` of commit 3716187 plays it and learns from it."""
    from azr.buffer import TaskBuffer
    from azr.command import make_parts, make_sandbox, resolve

    from azr.selfplay import SelfPlay, buffer_kinds

    config = resolve("demo", [f"model.device={arguments.device}", *arguments.settings])
    sandbox = _Counting(make_sandbox(config.sandbox))
    try:
        parts = make_parts(config, sandbox)
        buffer = TaskBuffer(buffer_kinds(parts.domain), config.buffer)
        words = {"render": parts.render, "count_tokens": parts.count_tokens}
        play = SelfPlay(config, parts.domain, parts.generator, sandbox, buffer, **words)
        await play.seed()
        line.ready()
        async for step in line.awaited_steps():
            sandbox.jobs, clock = 0, Clock()
            played = await play.step(step)
            clock.lap("play")
            _learn_earlier(config, parts.learner, played.rollouts)
            clock.lap("update")
            drawn = list(_drawn(played))
            counts = {
                "prompts": len(drawn),
                "rows": sum(map(len, drawn)),
                "tokens": sum(len(sample.completion_ids) for samples in drawn for sample in samples),
                "programs": sandbox.jobs,
                "rollouts": len(played.rollouts),
            }
            line.answer(Answer(clock.stages, counts, _shares(played)))
    finally:
        await sandbox.close()


def _drawn(played: Any) -> Iterator[tuple[Any, ...]]:
    """The samples of each prompt of a step."""
    for story in played.stories:
        yield (story.sample,)
    for attempts in played.attempts():
        yield attempts.samples


def _learn_earlier(config: Any, learner: Any, rollouts: Any) -> None:
    from azr.advantages import advantages

    from azr.train import trainees

    penalties = learner.penalties([rollout.sample for rollout in rollouts])
    compared = [replace(one, reward=one.reward - penalty) for one, penalty in zip(rollouts, penalties, strict=True)]
    traces: list[Any] = []
    found = advantages(compared, config.algorithm)
    learner.update(trainees(rollouts, found), observe=lambda _, trace: traces.append(trace))


class _Counting:
    """Counts the jobs of a sandbox."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox, self.jobs = sandbox, 0

    async def run(self, job: Any) -> Any:
        self.jobs += 1
        return await self.sandbox.run(job)

    async def close(self) -> None:
        await self.sandbox.close()
