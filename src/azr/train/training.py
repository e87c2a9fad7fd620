"""The training loop: seed, then play, learn and save, step by step, until the end or until it is stopped.

It connects concrete parts to the protocols of `azr.selfplay`. For reproducibility and resuming, everything that
determines the next step is in a checkpoint, or a function of the seed and the step's number.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from azr.analysis.figures import figures
from azr.analysis.held_out import Evaluation
from azr.analysis.metrics import step_metrics
from azr.analysis.statistics import mean_of_kinds
from azr.analysis.step import OpenStep
from azr.config import Config
from azr.domains.base import Domain, length_of
from azr.errors import UserError
from azr.evals.held_out import HeldOut, evaluate, guess
from azr.learn.base import Learner
from azr.run import directory as run_directory
from azr.run.checkpoint import BUFFER, Checkpoints, State, advice, read_buffer, read_state, reading
from azr.run.directory import RunDirectory
from azr.run.events import Event, step_events
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.records import StepRecord
from azr.selfplay.seeding import seed, seed_from
from azr.selfplay.step import SelfPlay, buffer_kinds, counted
from azr.settings import dump
from azr.train.ahead import Player
from azr.train.learning import Learnt, learn
from azr.train.screen import Screen
from azr.train.stopping import Stop, Stopped
from azr.train.trackers.base import is_due, sample_tasks
from azr.train.trackers.feed import Feed
from azr.types import Task


@dataclass(frozen=True, slots=True)
class TrainingParts(Parts):
    """The parts of a run.

    Attributes:
        learner: None with `selfplay.learn = false`.
        export: writes the model as a Hugging Face folder, given the summary for its card; None without a learner.
    """

    learner: Learner | None
    export: Callable[[Path, Mapping[str, Any]], None] | None


class Training:
    """One run, from the state in its directory to its end. The caller has entered directory, screen and feed."""

    def __init__(self, config: Config, run: RunDirectory, parts: TrainingParts, screen: Screen, feed: Feed) -> None:
        self._config, self._run, self._parts, self._screen, self._feed = config, run, parts, screen, feed
        self._checkpoints = Checkpoints(run.path, keep=config.checkpoint.keep)
        self._buffer = TaskBuffer(buffer_kinds(parts.domain), config.buffer)
        """The tasks after the last whole step; of `_selfplay`, they may be those of a step that is being played."""
        self._selfplay = SelfPlay(config, parts, self._buffer)
        self._player = Player(self._selfplay, ahead=config.generation.max_staleness, last=config.steps)
        self._held_out: Sequence[Task] = ()
        self._state = State(step=0, lengths={}, seeding={})
        self._saved = self._state
        self._stop = Stop(lambda: screen.say("stopping and saving; press Ctrl-C again to stop without saving"))
        self.stopped = False

    def ask_to_stop(self) -> None:
        """Stop as on SIGTERM; for a rank of the learner that has received it. Asking again changes nothing."""
        self._stop.ask()

    async def run(self) -> State:
        """Play the remaining steps, and return the state at the end.

        When asked to stop, it abandons the current work, saves the state from before, and sets `stopped`. A resumed run
        repeats the abandoned work, with the same outcome. An update that has already moved weights, a checkpoint or a
        model that is being written is finished first.

        Raises:
            UserError: seeding fails, the disk is full, nothing valid is proposed for too long, or the run has already
                done more steps than configured.
        """
        with self._stop.on_signals():
            try:
                await self._play()
            except Stopped:
                self.stopped = True
                if self._state is not self._saved:
                    await self._save()
            finally:
                await self._player.abandon()
        return self._state

    async def _play(self) -> None:
        config = self._config
        if count := config.evaluation.tasks:
            self._held_out = await self._stop.unless(self._parts.domain.held_out(count, self._parts.sandbox))
        if (checkpoint := self._checkpoints.newest()) is not None:
            await self._restore(checkpoint)
        self._run.amend(dump(config))
        if self._state.seeding is not None:
            await self._begin()
        self._feed.begin(run_directory.read_jsonl(self._run.path / run_directory.METRICS))
        while self._state.step < config.steps:
            await self._evaluate_if_due()
            await self._step()
            if self._state.step == config.steps or self._state.step % config.checkpoint.every == 0:
                await self._save()
        await self._finish()

    async def _begin(self) -> None:
        seed_file = self._config.selfplay.seed_file
        if not self._state.lengths:
            self._run.cut(dict.fromkeys(run_directory.LOGS, 0))
            if seed_file is not None:  # before the long evaluation, since the file may be missing
                self._load_seed(Path(seed_file))
            self._state = replace(self._state, before=await self._evaluate(0, "the untrained model"))
            await self._save()
        if seed_file is None:
            await self._seed()
        path = self._run.path / run_directory.SEED
        with run_directory.explained(path):
            path.write_text("".join(f"{line}\n" for line in self._selfplay.buffer.dump()), encoding="utf-8")
        whose = "by the untrained model" if seed_file is None else "from a file"
        self._screen.say(f"seeded: {len(self._selfplay.buffer)} tasks {whose}")
        self._state = replace(self._state, seeding=None)
        await self._save()

    async def _seed(self) -> None:
        """Seed the buffers; save a checkpoint after every batch."""
        self._screen.doing("seeding the buffers")
        progress = {kind: Counter(reasons) for kind, reasons in (self._state.seeding or {}).items()}
        shortfalls: list[str] = []
        batches = seed(self._selfplay, progress, shortfalls=shortfalls)
        while (record := await self._stop.unless(_next(batches))) is not None:
            self._run.write(run_directory.EVENTS, step_events(record, self._parts.domain))
            self._state = replace(self._state, seeding={kind: dict(reasons) for kind, reasons in progress.items()})
            await self._save()
        for shortfall in shortfalls:
            self._screen.say(f"{shortfall}; playing on")

    def _load_seed(self, path: Path) -> None:
        try:
            left_out = seed_from(self._selfplay, path.read_text(encoding="utf-8").splitlines())
        except UserError:
            raise
        except Exception as error:  # of a domain, for lines that anybody may have written
            raise UserError(f"selfplay.seed_file = {path}: not a file of seed tasks: {error}") from error
        if left_out:
            self._screen.say(f"{path}: tasks left out: {counted(left_out)}")

    async def _restore(self, checkpoint: Path) -> None:
        state = read_state(checkpoint)
        if state.step > self._config.steps:
            raise UserError(f"steps = {self._config.steps}: {self._run.path} has done {state.step}; ask for more")
        if self._parts.learner is not None and state.seeding is None:
            try:
                self._parts.learner.load(checkpoint)
            except UserError as error:
                raise UserError(f"{error}; {advice(checkpoint)}") from error
            await self._parts.generator.update_weights(state.step, self._parts.learner.weights())
        kinds = buffer_kinds(self._parts.domain)
        with reading(checkpoint, BUFFER):
            self._buffer = TaskBuffer.load(read_buffer(checkpoint), kinds, self._config.buffer)
        self._selfplay.buffer = self._buffer
        self._run.cut(state.lengths)  # last, so that a checkpoint that cannot be read loses no line
        self._screen.say("resumed while seeding" if state.seeding is not None else f"resumed after step {state.step}")
        self._state = self._saved = state

    async def _finish(self) -> None:
        if self._parts.export is None:
            return
        state = self._state
        after = await self._evaluate(state.step, "the trained model", state.before) if state.step else {}
        summary = {"steps": state.step, "seconds": state.seconds, "before": state.before, "after": after}
        self._screen.doing("exporting the model")
        with run_directory.explained(self._run.path):
            await asyncio.to_thread(self._parts.export, self._run.path / run_directory.MODEL, summary)

    async def _step(self) -> None:
        """Play, learn, and log the step. If it is stopped before the weights have moved, it changes nothing."""
        step, begin = self._state.step + 1, time.perf_counter()
        self._screen.doing(f"step {step}: proposing and solving")
        played = await self._stop.unless(self._player.take(step))
        record, taken = played.record, time.perf_counter()
        learner, domain = self._parts.learner, self._parts.domain
        # Nothing is learnt from a step in which no task was valid, the proposer is frozen and the buffers are empty.
        learnt = await self._learn(step, learner, record) if learner and record.rollouts else None
        if learner and learnt:
            await self._parts.generator.update_weights(step, learner.weights())
        written = OpenStep(step)
        self._run.write(run_directory.EVENTS, written.passing(step_events(record, domain)))
        self._run.write(run_directory.EVENTS, written.passing(learnt.events(step) if learnt else ()))
        sizes = {kind: played.buffer.size(kind) for kind in domain.kinds}
        metrics = step_metrics(figures(written, played.known), sizes)
        end = time.perf_counter()
        metrics["seconds"] = {"step": end - begin, "learn": end - taken, **record.stopwatch.shares(played.seconds)}
        self._run.write(run_directory.METRICS, [metrics])
        shown = sample_tasks(record, domain.show) if is_due(step, self._config.steps) else ()
        self._feed.send(metrics, tuple(shown))
        self._screen.step(metrics)
        failed, seconds = self._count_failure(record), self._state.seconds + end - begin
        self._buffer = played.buffer
        self._state = replace(self._state, step=step, failed_steps=failed, seconds=seconds)

    async def _learn(self, step: int, learner: Learner, record: StepRecord) -> Learnt:
        self._screen.doing(f"step {step}: learning")
        every = self._config.events.tokens_every
        try:
            traced = every > 0 and step % every == 0
            rollouts, shown = record.rollouts, record.demonstrations()
            algorithm = self._config.algorithm
            learnt = await learn(learner, rollouts, algorithm, shown=shown, traced=traced, stop=self._stop)
        except FloatingPointError as error:
            raise UserError(
                f"{self._run.path}: {error}; its checkpoints are from before. Start again with a lower learner.lr"
            ) from error
        if not self._config.generation.max_staleness:
            return learnt
        missed = fmean(step - 1 - rollout.sample.version for rollout in rollouts)
        return replace(learnt, metrics={**learnt.metrics, "staleness": missed})

    def _count_failure(self, record: StepRecord) -> int:
        if any(episode.task is not None for episode in record.episodes):
            return 0
        failed, most = self._state.failed_steps + 1, self._config.selfplay.max_failed_steps
        if 0 < most <= failed:
            reasons = sorted({episode.proposal.verdict.reason for episode in record.episodes})
            raise UserError(
                f"{self._run.path}: {failed} steps in a row without one valid proposal (last: {', '.join(reasons)});"
                " lower learner.lr, or start from an earlier checkpoint"
            )
        return failed

    async def _save(self) -> None:
        """Write a checkpoint, off the event loop; without the model while the buffers are seeded."""
        state, learner = replace(self._state, lengths=self._run.lengths()), self._parts.learner
        if state.seeding is None:
            self._screen.doing(f"saving after step {state.step}")
        save = learner.save if learner and state.seeding is None else lambda folder: None
        await asyncio.to_thread(self._checkpoints.save, state, self._buffer.dump(), save)
        self._state = self._saved = state

    async def _evaluate_if_due(self) -> None:
        state, every = self._state, 0 if self._parts.learner is None else self._config.evaluation.every
        if every and state.step and state.step % every == 0 and state.evaluated < state.step:
            await self._evaluate(state.step, f"the model after step {state.step}", state.before)
            self._state = replace(state, evaluated=state.step)

    async def _evaluate(self, step: int, whom: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Measure and log held-out accuracy, with the untrained model's and a random guess's for comparison."""
        if not self._held_out:
            return {}
        self._screen.doing(f"evaluating {whom}")
        prompt, new = self._config.generation.max_prompt_tokens, self._config.generation.max_solve_tokens
        answers = evaluate(self._held_out, self._parts, max_prompt_tokens=prompt, max_new_tokens=new)
        result = await self._stop.unless(answers)
        first, lengths = Evaluation(0, before["marks"]) if before else None, result.lengths(self._parts.domain)
        found = Evaluation(step, result.correct, first, lengths)
        if before:
            guessed = before["guess"]
        else:
            guesses = guess(self._held_out, self._parts.domain, self._parts.sandbox, seed=self._config.seed)
            guessed = mean_of_kinds((await self._stop.unless(guesses)).correct)
        summary = found.summary() | {"marks": found.marks, "guess": guessed}
        self._run.write(run_directory.EVENTS, _answer_events(step, result, self._parts.domain))
        line = {"step": step, "held_out": summary}
        self._run.write(run_directory.METRICS, [line])
        self._feed.send(line)
        self._screen.say(f"held-out accuracy of {whom}: {found.in_words(guessed)}")
        return summary


async def _next(batches: AsyncIterator[StepRecord]) -> StepRecord | None:
    """The next batch; None after the last one."""
    return await anext(batches, None)


def _answer_events(step: int, result: HeldOut, domain: Domain) -> Iterator[Event]:
    for answered in result.answers:
        task, verdict = answered.task, answered.verdict
        about = {"event": "held_out", "step": step, "task": task.id, "kind": task.kind, "text": answered.text}
        yield about | {"length": length_of(domain, task), "score": verdict.score, "reason": verdict.reason}
