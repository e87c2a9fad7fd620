"""A trial on this machine: seeding, real steps and some held-out tasks, all in memory. The run's time follows from it.

A trial step has as many proposals as the run's if that takes about a minute at most; else it has fewer, and its time is
scaled up. Short steps are repeated, since a single long completion makes a step take several times as long.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from azr.config import Config
from azr.evals.held_out import evaluate
from azr.run.events import step_events
from azr.sandbox.base import Job, Outcome, Sandbox
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.records import Episode, StepRecord
from azr.selfplay.seeding import seed
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.train.learning import learn
from azr.train.stopping import Stop
from azr.train.training import TrainingParts
from azr.types import Kind

TRIAL_SECONDS = 60.0
"""The most that the last and largest step may take, including seeding."""
_GROWTH = 4
_STEPS, _STEPS_SECONDS = 10, 10.0
"""Full-sized steps are repeated until either limit is reached."""
_HELD_OUT = 32
"""The most held-out tasks of each kind that a trial answers."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial measured. Everything per step is a mean over the steps."""

    batch: int  # proposals of each kind
    steps: int
    proposal: float  # seconds per proposal while seeding, validation included
    valid: Mapping[Kind, float]  # share of proposals accepted, by kind
    play: float  # seconds per step
    learn: float  # seconds per step
    rollouts: float  # per step
    tokens: float  # per step
    unfinished: float  # share of rollouts cut at their limit
    jobs: float  # sandbox jobs per step
    sandbox: float  # seconds per step in which at least one of them was running
    events: float  # bytes of events per step
    answer: float  # seconds per held-out answer; 0 if the run does not evaluate


class Times(NamedTuple):
    """Seconds: of seeding, of one step, of one evaluation, and of the whole run."""

    seeding: float
    step: float
    evaluation: float
    run: float


async def try_out(config: Config, parts: TrainingParts) -> Trial:
    """Play a step with one proposal of each kind, to warm up, then larger ones up to the size of the run or a limit."""
    batch, most = 1, config.selfplay.batch_size
    while True:
        begin = time.perf_counter()
        trial = await _play(config, parts, batch)
        larger = min(_GROWTH * batch, most)
        if batch == most or (time.perf_counter() - begin) * larger / batch > TRIAL_SECONDS:
            return trial
        batch = larger


def times(config: Config, trial: Trial) -> Times:
    """Predict the run's time, assuming that its steps are like the trial's."""
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
    """How many times the run measures held-out accuracy."""
    if not config.evaluation.tasks or not config.selfplay.learn:
        return int(config.evaluation.tasks > 0)
    return 2 + ((config.steps - 1) // config.evaluation.every if config.evaluation.every else 0)


class _Clocked:
    """A sandbox that counts its jobs and the time in which at least one is running."""

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
    """Seed buffers with one batch each, play and learn for one or several steps, answer held-out tasks."""
    most = _STEPS if batch == config.selfplay.batch_size else 1
    small = {"batch_size": batch, "seed_factor": 1, "seed_attempts": 2, "seed_shortfall": "play_on"}
    config = config.model_copy(update={"selfplay": config.selfplay.model_copy(update=small)})
    sandbox = _Clocked(parts.sandbox)
    buffer = TaskBuffer(buffer_kinds(parts.domain), config.buffer)
    selfplay = SelfPlay(config, replace(parts, sandbox=sandbox), buffer)
    begin = time.perf_counter()
    seeds = [record async for record in seed(selfplay)]
    seeded = time.perf_counter()
    sandbox.jobs, sandbox.seconds = 0, 0.0
    records: list[StepRecord] = []
    play, events = 0.0, 0
    while not records or (len(records) < most and time.perf_counter() - seeded < _STEPS_SECONDS):
        start = time.perf_counter()
        record = await selfplay.step(len(records) + 1)
        play += time.perf_counter() - start
        records.append(record)
        events += await _learn(config, parts, record) + _bytes(step_events(record, parts.domain))
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
    accepted = {kind: [e.task is not None for e in episodes if e.prompt.kind == kind] for kind in kinds}
    return {kind: sum(marks) / len(marks) for kind, marks in accepted.items() if marks}


async def _learn(config: Config, parts: TrainingParts, record: StepRecord) -> int:
    """Update as the run does; returns the bytes of the events of the update."""
    if parts.learner is None or not record.rollouts:
        return 0
    every = config.events.tokens_every
    learnt = await learn(
        parts.learner,
        record.rollouts,
        config.algorithm,
        shown=record.demonstrations(),
        traced=every > 0,
        stop=Stop(),
    )
    events = list(learnt.events(1))
    tokens = _bytes(event for event in events if event["event"] == "tokens")
    return _bytes(events) - tokens + (tokens // every if every else 0)


async def _answer(config: Config, parts: TrainingParts, batch: int) -> float:
    """Seconds per held-out answer, for a number of tasks in proportion to the step."""
    tasks = await parts.domain.held_out(min(config.evaluation.tasks, 2 * batch, _HELD_OUT), parts.sandbox)
    if not tasks:
        return 0.0
    begin, longest = time.perf_counter(), config.generation
    await evaluate(tasks, parts, max_prompt_tokens=longest.max_prompt_tokens, max_new_tokens=longest.max_solve_tokens)
    return (time.perf_counter() - begin) / len(tasks)


def _bytes(events: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(json.dumps(event)) + 1 for event in events)
