"""The folder of a run that was played for real, by a scripted model: no training, all else as `azr train` writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from azr.algorithms.advantages import Baseline, Estimate
from azr.analysis.figures import figures
from azr.analysis.metrics import step_metrics
from azr.analysis.step import OpenStep
from azr.config import BufferConfig
from azr.domains.python.domain import PythonDomain
from azr.run.directory import EVENTS, METRICS, SEED, RunDirectory
from azr.run.events import learning_events, step_events
from azr.sandbox import LocalSandbox
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.records import StepRecord
from azr.selfplay.seeding import seed
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.settings import build, dump
from tests.scripted import ScriptedGenerator, plain


class Noting(ScriptedGenerator):
    """Keeps every prompt by its key."""

    def __init__(self, script) -> None:
        super().__init__(script)
        self.prompts: dict[str, str] = {}

    async def sample(self, prompt, *, n, key, sampling):
        self.prompts[key] = prompt.text
        return await super().sample(prompt, n=n, key=key, sampling=sampling)


TREE = {
    "steps": 2,
    "model": {"name": "scripted"},
    "domain": {"name": "python", "style": "compact", "induction_inputs": 4, "induction_shown": 2},
    "selfplay": {"batch_size": 3, "samples": 4, "seed_factor": 1, "references": 2},
}


class Played:
    """A run that goes on as long as a test wants it to.

    Attributes:
        path: its folder.
        prompts: what the model was asked, by key.
    """

    def __init__(self, parent: Path, sandbox, script) -> None:
        from azr.domains import registry

        self.config = build(TREE, registry.config_class, source="test")
        self._domain = PythonDomain(self.config.domain, self.config.sandbox)
        self._generator = Noting(script)
        buffer = TaskBuffer(buffer_kinds(self._domain), BufferConfig())
        parts = Parts(self._domain, self._generator, sandbox, plain)
        self._play = SelfPlay(self.config, parts, buffer)
        self._run = RunDirectory.create(parent, "played", dump(self.config))
        self.path, self.prompts = self._run.path, self._generator.prompts

    async def seed(self) -> None:
        """Play step 0."""
        with self._run:
            async for record in seed(self._play):
                self._run.write(EVENTS, step_events(record, self._domain))
        lines = "".join(f"{line}\n" for line in self._play.buffer.dump())
        (self.path / SEED).write_text(lines, encoding="utf-8")

    async def step(self, number: int) -> StepRecord:
        """Play a step, and write it down as if every rollout had the advantage 0.5."""
        buffer, kinds = self._play.buffer, self._domain.kinds
        known = {task.shape for task in buffer.tasks(*kinds)}
        record = await self._play.step(number)
        baseline = Baseline("the test's", 1, 0.0, None, False)
        estimates = [Estimate.constant(rollout, 0.5, baseline) for rollout in record.rollouts]
        learnt = {"loss": 1.0 / number, "entropy": 2.0}
        penalties = [0.0] * len(record.rollouts)
        with self._run:
            written = OpenStep(number)
            self._run.write(EVENTS, written.passing(step_events(record, self._domain)))
            learning = learning_events(number, record.rollouts, penalties, estimates, learnt)
            self._run.write(EVENTS, written.passing(learning))
            metrics = step_metrics(figures(written, known), {kind: buffer.size(kind) for kind in kinds})
            self._run.write(METRICS, [metrics | {"seconds": {"step": 2.0, "propose": 0.5, "solve": 1.0, "learn": 0.5}}])
        return record


def play(parent: Path, script, steps: int) -> tuple[Played, list[StepRecord]]:
    """Seed and play some steps; the run and their records."""

    async def go() -> tuple[Played, list[StepRecord]]:
        sandbox = LocalSandbox(workers=2)
        try:
            run = Played(parent, sandbox, script)
            await run.seed()
            return run, [await run.step(number) for number in range(1, steps + 1)]
        finally:
            await sandbox.close()

    return asyncio.run(go())
