"""The training loop: seed, then play, learn and save, step after step, until the end or until it is told to stop.

It wires concrete parts to the protocols of `azr.selfplay`; what is reproducible and what survives a crash is decided
here. Everything that decides the next step is in a checkpoint, or a function of the seed and the step's number.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from azr.advantages import advantages as advantages_of
from azr.advantages import ppo
from azr.buffer import TaskBuffer
from azr.config import AlgorithmConfig, Config
from azr.errors import UserError
from azr.evals.held_out import HeldOut, evaluate, gain, guess, in_words
from azr.parts import Parts
from azr.policy.base import Learner, Trace, Trainee
from azr.run import directory as run_directory
from azr.run.checkpoint import Checkpoints, State, read_buffer, read_state
from azr.run.directory import RunDirectory
from azr.run.events import Event, learning_events, step_events
from azr.run.metrics import step_metrics
from azr.run.tokens import token_events
from azr.run.trackers.feed import Feed
from azr.run.trackers.samples import is_due, sample_tasks
from azr.screen import Screen
from azr.selfplay import SelfPlay, buffer_kinds, counted
from azr.settings import dump
from azr.story import StepRecord
from azr.types import Rollout, Task


@dataclass(frozen=True, slots=True)
class TrainingParts(Parts):
    """What a run plays and learns with.

    Attributes:
        learner: None with `selfplay.learn = false`.
        export: writes the model as a plain Hugging Face folder, given the summary for its card; None where none learnt.
    """

    learner: Learner | None
    export: Callable[[Path, Mapping[str, Any]], None] | None


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What an update did.

    Attributes:
        metrics: the learner's.
        penalties: what the divergence took off each rollout's reward.
        traces: what the learner's passes saw of each rollout, by its index.
    """

    metrics: Mapping[str, float]
    penalties: Sequence[float]
    traces: Mapping[int, Sequence[Trace]]

    @property
    def advantages(self) -> list[list[float]]:
        """Of every rollout, one for each of its tokens."""
        return [self.traces[index][0].advantages.tolist() for index in range(len(self.penalties))]


class Training:
    """One run, from wherever its directory stands to its end.

    Args:
        config: the run's.
        run: its directory, entered.
        parts: what it plays and learns with.
        screen: where it tells what it does, entered.
        feed: of its trackers, entered.
    """

    def __init__(self, config: Config, run: RunDirectory, parts: TrainingParts, screen: Screen, feed: Feed) -> None:
        self._config, self._run, self._parts, self._screen, self._feed = config, run, parts, screen, feed
        self._checkpoints = Checkpoints(run.path, keep=config.checkpoint.keep)
        self._selfplay = SelfPlay(config, parts, TaskBuffer(buffer_kinds(parts.domain), config.buffer))
        self._held_out: Sequence[Task] = ()
        self._stopping = False

    async def run(self) -> State:
        """Play all the steps that are left.

        Returns:
            the state at the end; its `step` is less than `config.steps` when it was told to stop.

        Raises:
            UserError: seeding fails, the disk is full, nothing valid is proposed for too long, or more steps than
                are asked for were done before.
        """
        with _on_interrupt(self._stop):
            count = self._config.evaluation.tasks
            self._held_out = await self._parts.domain.held_out(count, self._parts.sandbox) if count else ()
            checkpoint = self._checkpoints.newest()
            restored = None if checkpoint is None else self._restore(checkpoint)
            self._run.amend(dump(self._config))
            state = restored or await self._begin()
            self._feed.begin(run_directory.read_jsonl(self._run.path / run_directory.METRICS))
            while state.step < self._config.steps and not self._stopping:
                state = await self._step(state)
                done = state.step == self._config.steps
                if done or self._stopping or state.step % self._config.checkpoint.every == 0:
                    state = self._save(state)
            if state.step == self._config.steps:
                await self._finish(state)
            return state

    # Its beginning and its end

    async def _begin(self) -> State:
        self._run.cut(dict.fromkeys(run_directory.LOGS, 0))
        seed_file = self._config.selfplay.seed_file
        if seed_file is not None:  # before the evaluation takes its time: the file may not be there
            self._load_seed(Path(seed_file))
        before = await self._evaluate(0, "the untrained model")
        if seed_file is None:
            self._screen.doing("seeding the buffers")
            for record in await self._selfplay.seed():
                self._write_events(record)
            for shortfall in self._selfplay.shortfalls:
                self._screen.say(f"{shortfall}; playing on")
        path = self._run.path / run_directory.SEED
        with run_directory.explained(path):
            path.write_text("".join(f"{line}\n" for line in self._selfplay.buffer.dump()), encoding="utf-8")
        whose = "by the untrained model" if seed_file is None else "from a file"
        self._screen.say(f"seeded: {len(self._selfplay.buffer)} tasks {whose}")
        return self._save(State(step=0, lengths={}, before=before))

    def _load_seed(self, path: Path) -> None:
        try:
            left_out = self._selfplay.seed_from(path.read_text(encoding="utf-8").splitlines())
        except UserError:
            raise
        except Exception as error:  # what a domain makes of lines that anybody may have written
            raise UserError(f"selfplay.seed_file = {path}: not a file of seed tasks: {error}") from error
        if left_out:
            self._screen.say(f"{path}: tasks left out: {counted(left_out)}")

    def _restore(self, checkpoint: Path) -> State:
        state = read_state(checkpoint)
        if state.step > self._config.steps:
            raise UserError(f"steps = {self._config.steps}: {self._run.path} has done {state.step}; ask for more")
        self._run.cut(state.lengths)
        if self._parts.learner is not None:
            self._parts.learner.load(checkpoint)
        kinds = buffer_kinds(self._parts.domain)
        self._selfplay.buffer = TaskBuffer.load(read_buffer(checkpoint), kinds, self._config.buffer)
        self._screen.say(f"resumed after step {state.step}")
        return state

    async def _finish(self, state: State) -> None:
        if self._parts.export is None:  # the model is what it was at the start
            return
        after = await self._evaluate(state.step, "the trained model", state.before) if state.step else {}
        summary = {"steps": state.step, "seconds": state.seconds, "before": state.before, "after": after}
        self._screen.doing("exporting the model")
        with run_directory.explained(self._run.path):
            self._parts.export(self._run.path / run_directory.MODEL, summary)

    # A step

    async def _step(self, state: State) -> State:
        step, begin = state.step + 1, time.perf_counter()
        self._screen.doing(f"step {step}: proposing and solving")
        record = await self._selfplay.step(step)
        played = time.perf_counter()
        learner, domain = self._parts.learner, self._parts.domain
        # Nothing is learnt from a step in which no task was valid, the proposer is frozen and the buffers are empty.
        learnt = self._learn(step, learner, record.rollouts) if learner and record.rollouts else None
        metrics = step_metrics(
            record,
            self._selfplay.buffer,
            domain.kinds,
            learnt.advantages if learnt else (),
            learnt.metrics if learnt else {},
            domain.trivial,
        )
        self._write_events(record, self._learning_events(record, learnt) if learnt else ())
        end = time.perf_counter()
        metrics["seconds"] = {"step": end - begin, "learn": end - played, **record.stopwatch.shares(played - begin)}
        self._run.write(run_directory.METRICS, [metrics])
        shown = sample_tasks(record, domain.show) if is_due(step, self._config.steps) else ()
        self._feed.send(metrics, tuple(shown))
        self._screen.step(metrics)
        every = 0 if learner is None else self._config.evaluation.every
        if every and step % every == 0 and step < self._config.steps:
            await self._evaluate(step, f"the model after step {step}", state.before)
        return replace(
            state, step=step, failed_steps=self._count_failure(state, record), seconds=state.seconds + end - begin
        )

    def _learn(self, step: int, learner: Learner, rollouts: Sequence[Rollout]) -> _Learnt:
        """Update the policy."""
        self._screen.doing(f"step {step}: learning")
        penalties = learner.penalties([rollout.sample for rollout in rollouts])
        compared = [replace(r, reward=r.reward - penalty) for r, penalty in zip(rollouts, penalties, strict=True)]
        traces: dict[int, list[Trace]] = defaultdict(list)
        try:
            told = learner.update(
                trainees(compared, learner, self._config.algorithm),
                observe=lambda index, trace: traces[index].append(trace),
            )
        except FloatingPointError as error:
            raise UserError(
                f"{self._run.path}: {error}; its checkpoints are from before. Start again with a lower learner.lr"
            ) from error
        return _Learnt(dict(told) | ({"penalty": fmean(penalties)} if any(penalties) else {}), penalties, traces)

    def _learning_events(self, record: StepRecord, learnt: _Learnt) -> Iterator[Event]:
        step, rollouts = record.step, record.rollouts
        yield from learning_events(step, rollouts, learnt.penalties, learnt.advantages, learnt.metrics)
        if (every := self._config.events.tokens_every) and step % every == 0:
            yield from token_events(step, rollouts, learnt.traces)

    def _count_failure(self, state: State, record: StepRecord) -> int:
        if any(story.task is not None for story in record.stories):
            return 0
        failed, most = state.failed_steps + 1, self._config.selfplay.max_failed_steps
        if 0 < most <= failed:
            reasons = sorted({story.proposal.verdict.reason for story in record.stories})
            raise UserError(
                f"{self._run.path}: {failed} steps in a row without one valid proposal (last: {', '.join(reasons)});"
                " lower learner.lr, or start from an earlier checkpoint"
            )
        return failed

    def _save(self, state: State) -> State:
        self._screen.doing(f"saving after step {state.step}")
        state = replace(state, lengths=self._run.lengths())
        learner = self._parts.learner
        save = (lambda folder: None) if learner is None else learner.save
        self._checkpoints.save(state, self._selfplay.buffer.dump(), save)
        return state

    def _write_events(self, record: StepRecord, more: Iterable[Event] = ()) -> None:
        self._run.write(run_directory.EVENTS, step_events(record, self._parts.domain.trivial))
        self._run.write(run_directory.EVENTS, more)

    async def _evaluate(self, step: int, whom: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Held-out accuracy, into events and metrics, beside the untrained model's and what a random guess reaches."""
        if not self._held_out:
            return {}
        self._screen.doing(f"evaluating {whom}")
        generation = self._config.generation
        result = await evaluate(
            self._held_out,
            self._parts,
            max_prompt_tokens=generation.max_prompt_tokens,
            max_new_tokens=generation.max_solve_tokens,
        )
        summary = result.summary()
        if before:
            summary |= {"guess": before["guess"], "gain": gain(before, summary)}
        else:
            blind = await guess(self._held_out, self._parts.domain, self._parts.sandbox, seed=self._config.seed)
            summary["guess"] = blind.summary()["mean"]["accuracy"]
        self._run.write(run_directory.EVENTS, _answer_events(step, result))
        line = {"step": step, "held_out": summary}
        self._run.write(run_directory.METRICS, [line])
        self._feed.send(line)
        self._screen.say(f"held-out accuracy of {whom}: {in_words(summary)}")
        return summary

    def _stop(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = True
        self._screen.say("stopping after this step; press Ctrl-C again to stop at once")


def trainees(rollouts: Sequence[Rollout], learner: Learner, algorithm: AlgorithmConfig) -> list[Trainee]:
    """What the learner gets of each rollout: tokens, log-probabilities, advantages, and what its critic is to learn."""
    samples = [rollout.sample for rollout in rollouts]
    if (values := learner.values(samples)) is None:
        advantages, values = advantages_of(rollouts, algorithm), [()] * len(rollouts)
        returns: Sequence[Sequence[float]] = values
    else:
        discount, gae_lambda = algorithm.ppo.discount, algorithm.ppo.gae_lambda
        advantages, returns = ppo(rollouts, values, discount=discount, gae_lambda=gae_lambda)
    return [
        Trainee(
            sample.prompt_ids, sample.completion_ids, sample.logprobs, advantages_T, tuple(values_T), tuple(returns_T)
        )
        for sample, advantages_T, values_T, returns_T in zip(samples, advantages, values, returns, strict=True)
    ]


def _answer_events(step: int, result: HeldOut) -> Iterator[Event]:
    for answered in result.answers:
        task, verdict = answered.task, answered.verdict
        about = {"event": "held_out", "step": step, "task": task.id, "kind": task.kind, "text": answered.text}
        yield about | {"score": verdict.score, "reason": verdict.reason}


@contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and on SIGTERM, which is how a preempted machine is told."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
