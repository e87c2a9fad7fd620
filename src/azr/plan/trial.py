"""A trial on this machine: seeding, real steps and some held-out tasks, in memory; the run's time follows from it.

A step has as many proposals as the run's where that takes a minute or so, else fewer, and is scaled in proportion.
Several short steps are played, since a single long answer makes a step last several times as long.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from azr.config import Config
from azr.evals.held_out import evaluate
from azr.run.events import step_events
from azr.sandbox.base import Job, Outcome, Sandbox
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.records import Episode, StepRecord
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.train.learning import learn
from azr.train.stopping import Stop
from azr.train.training import TrainingParts
from azr.types import Kind

TRIAL_SECONDS = 60.0
"""What the last and largest step may take with its seeding; the first has one proposal of each kind, and warms up."""

_GROWTH = 4

_STEPS, _STEPS_SECONDS = 10, 10.0
"""Steps of the run's own size are played until so many are done, or so much time has passed."""

_HELD_OUT = 32
"""Held-out tasks of each kind that a trial answers, at most."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial took.

    Attributes:
        batch: proposals of each kind.
        steps: how many were played; what follows of a step is their mean.
        proposal: seconds of a proposal made while seeding, checks included.
        valid: share of proposals accepted, by kind.
        play, learn: seconds of the step.
        rollouts, tokens: what was learnt from, or only judged, in a step.
        unfinished: share of rollouts cut at their limit.
        jobs, sandbox: a step's jobs in the sandbox, and seconds in which one was under way.
        events: bytes written of a step.
        answer: seconds of a held-out answer; 0 where the run has none.
    """

    batch: int
    steps: int
    proposal: float
    valid: Mapping[Kind, float]
    play: float
    learn: float
    rollouts: float
    tokens: float
    unfinished: float
    jobs: float
    sandbox: float
    events: float
    answer: float


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a run's parts, and of all of it."""

    seeding: float
    step: float
    evaluation: float
    run: float


async def try_out(config: Config, parts: TrainingParts) -> Trial:
    """Play a small step, then larger ones, up to the run's own while they keep to the time limit."""
    batch, most = 1, config.selfplay.batch_size
    while True:
        begin = time.perf_counter()
        trial = await _play(config, parts, batch)
        larger = min(_GROWTH * batch, most)
        if batch == most or (time.perf_counter() - begin) * larger / batch > TRIAL_SECONDS:
            return trial
        batch = larger


def times(config: Config, trial: Trial) -> Times:
    """What the run will take if its steps are like the trial's."""
    play = config.selfplay
    step = (trial.play + trial.learn) * play.batch_size / trial.batch
    batches = [
        min(play.seed_attempts, math.ceil(play.seed_factor / share)) if share else play.seed_attempts
        for share in trial.valid.values()
    ]
    seeding = 0.0 if play.seed_file else sum(batches) * play.batch_size * trial.proposal
    evaluation = trial.answer * config.evaluation.tasks * len(config.domain.kinds)
    return Times(seeding, step, evaluation, seeding + config.steps * step + evaluations(config) * evaluation)


def evaluations(config: Config) -> int:
    """How often held-out accuracy is measured."""
    if not config.evaluation.tasks or not config.selfplay.learn:
        return int(config.evaluation.tasks > 0)
    return 2 + ((config.steps - 1) // config.evaluation.every if config.evaluation.every else 0)


class _Clocked:
    """Counts jobs and the time in which at least one is under way (the `Sandbox` protocol)."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner, self._running, self._since = inner, 0, 0.0
        self.jobs, self.seconds = 0, 0.0

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        self.jobs += 1
        if not self._running:
            self._since = time.perf_counter()
        self._running += 1
        try:
            return await self._inner.run(job)
        finally:
            self._running -= 1
            if not self._running:
                self.seconds += time.perf_counter() - self._since

    async def close(self) -> None:
        await self._inner.close()


async def _play(config: Config, parts: TrainingParts, batch: int) -> Trial:
    """Seed buffers of a batch each, play a step or several, learn from them, answer held-out tasks."""
    most = _STEPS if batch == config.selfplay.batch_size else 1
    small = {"batch_size": batch, "seed_factor": 1, "seed_attempts": 2, "seed_shortfall": "play_on"}
    config = config.model_copy(update={"selfplay": config.selfplay.model_copy(update=small)})
    sandbox = _Clocked(parts.sandbox)
    buffer = TaskBuffer(buffer_kinds(parts.domain), config.buffer)
    selfplay = SelfPlay(config, replace(parts, sandbox=sandbox), buffer)
    begin = time.perf_counter()
    seeds = await selfplay.seed()
    seeded = time.perf_counter()
    sandbox.jobs, sandbox.seconds = 0, 0.0
    records: list[StepRecord] = []
    play, events = 0.0, 0
    while not records or (len(records) < most and time.perf_counter() - seeded < _STEPS_SECONDS):
        start = time.perf_counter()
        record = await selfplay.step(len(records) + 1)
        play += time.perf_counter() - start
        records.append(record)
        events += await _learn(config, parts, record) + _bytes(step_events(record, parts.domain.trivial))
    learn = time.perf_counter() - seeded - play
    steps, samples = len(records), [rollout.sample for record in records for rollout in record.rollouts]
    return Trial(
        batch=batch,
        steps=steps,
        proposal=(seeded - begin) / max(1, sum(len(one.episodes) for one in seeds)),
        valid=_valid(parts.domain.kinds, [episode for one in (*seeds, *records) for episode in one.episodes]),
        play=play / steps,
        learn=learn / steps,
        rollouts=len(samples) / steps,
        tokens=sum(len(sample.completion_ids) for sample in samples) / steps,
        unfinished=sum(not sample.finished for sample in samples) / max(1, len(samples)),
        jobs=sandbox.jobs / steps,
        sandbox=sandbox.seconds / steps,
        events=events / steps,
        answer=await _answer(config, parts, batch),
    )


def _valid(kinds: Sequence[Kind], episodes: Sequence[Episode]) -> dict[Kind, float]:
    """Share of proposals accepted, by kind."""
    made = {kind: [episode for episode in episodes if episode.prompt.kind == kind] for kind in kinds}
    return {kind: sum(episode.task is not None for episode in of) / len(of) for kind, of in made.items() if of}


async def _learn(config: Config, parts: TrainingParts, record: StepRecord) -> int:
    """Update as the run does; the bytes of the events that tell of it are returned."""
    if parts.learner is None or not record.rollouts:
        return 0
    every = config.events.tokens_every
    learnt = await learn(parts.learner, record.rollouts, config.algorithm, traced=every > 0, stop=Stop())
    events = list(learnt.events(1))
    tokens = _bytes(event for event in events if event["event"] == "tokens")
    return _bytes(events) - tokens + (tokens // every if every else 0)


async def _answer(config: Config, parts: TrainingParts, batch: int) -> float:
    """Seconds of one held-out answer among as many as fit beside the step."""
    tasks = await parts.domain.held_out(min(config.evaluation.tasks, 2 * batch, _HELD_OUT), parts.sandbox)
    if not tasks:
        return 0.0
    begin = time.perf_counter()
    await evaluate(
        tasks,
        parts,
        max_prompt_tokens=config.generation.max_prompt_tokens,
        max_new_tokens=config.generation.max_solve_tokens,
    )
    return (time.perf_counter() - begin) / len(tasks)


def _bytes(events: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(json.dumps(event)) + 1 for event in events)
