"""What `bench/step.py` records of a self-play step, how a side measures itself, and how it answers.

Nothing here imports azr, since one side imports an earlier commit's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from processes import family, processor_seconds

PHASES = ("propose", "solve")
_phase: ContextVar[str] = ContextVar("phase", default=PHASES[0])
"""What the coroutine that runs now has sampled last; the programs that it runs next belong to the same phase."""


@dataclass(frozen=True)
class Request:
    """Samples that were drawn from one prompt; `key` is the generator's, and names the role."""

    key: str
    prompt_ids: list[int]
    rows: list[list[int]]
    texts: list[str]

    @property
    def phase(self) -> str:
        return self.key.split("/")[1]


@dataclass(frozen=True)
class Program:
    """A job that was given to the sandbox, with whether each of its inputs gave a value there."""

    phase: str
    source: str
    inputs: list[str]
    entry: str
    literal: bool
    twice: bool
    wall_seconds: float
    gave: list[bool]


@dataclass(frozen=True)
class Trained:
    """A rollout that was learnt from."""

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float


@dataclass
class Work:
    """All that one step asked of generator, sandbox and learner."""

    requests: list[Request] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Work:
        found = json.loads(path.read_text())
        kinds = {"requests": Request, "programs": Program, "trained": Trained}
        return cls(**{name: [kind(**one) for one in found[name]] for name, kind in kinds.items()})

    def counts(self) -> dict[str, int]:
        """Sizes of the step, which every side reports of what it did itself."""
        return {
            "prompts": len(self.requests),
            "rows": sum(len(request.rows) for request in self.requests),
            "tokens": sum(len(row) for request in self.requests for row in request.rows),
            "programs": len(self.programs),
            "rollouts": len(self.trained),
        }

    def of(self, phase: str) -> tuple[list[Request], list[Program]]:
        """A phase's requests and programs."""
        return (
            [request for request in self.requests if request.phase == phase],
            [program for program in self.programs if program.phase == phase],
        )


class RecordingGenerator:
    """Passes on what is sampled, and notes it in `work`.

    Args:
        generator: that samples.
        texts: what the model is taken to have written, by key, for weights that write nothing of sense.
    """

    def __init__(self, generator: Any, texts: dict[str, list[str]] | None = None) -> None:
        self.generator, self.texts, self.work = generator, texts, Work()

    async def sample(self, prompt: Any, *, n: int, key: str, sampling: Any) -> tuple[Any, ...]:
        samples = await self.generator.sample(prompt, n=n, key=key, sampling=sampling)
        if self.texts is not None:
            samples = tuple(replace(one, text=text) for one, text in zip(samples, self.texts[key], strict=True))
        rows, texts = [list(one.completion_ids) for one in samples], [one.text for one in samples]
        self.work.requests.append(Request(key, list(samples[0].prompt_ids), rows, texts))
        _phase.set(self.work.requests[-1].phase)
        return samples

    async def update_weights(self, version: int, weights: Any) -> None:
        await self.generator.update_weights(version, weights)


class RecordingSandbox:
    """Passes on jobs, and notes them in the work of a generator."""

    def __init__(self, sandbox: Any, generator: RecordingGenerator) -> None:
        self.sandbox, self.generator = sandbox, generator

    async def run(self, job: Any) -> tuple[Any, ...]:
        outcomes = await self.sandbox.run(job)
        gave = [outcome.ok for outcome in outcomes]
        literal, wall = job.mode.value == "literal", job.limits.wall_seconds
        inputs = list(job.inputs)
        program = Program(_phase.get(), job.program, inputs, job.entry, literal, job.determinism, wall, gave)
        self.generator.work.programs.append(program)
        return outcomes

    async def close(self) -> None:
        await self.sandbox.close()


class Clock:
    """Wall and processor seconds by stage, of this process and all that stem from it."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = {}
        self._last = self._now()

    def lap(self, stage: str) -> None:
        """Count the time since the last call towards a stage."""
        now = self._now()
        spent = self.stages.setdefault(stage, [0.0, 0.0])
        for i in range(2):
            spent[i] += now[i] - self._last[i]
        self._last = now

    def _now(self) -> tuple[float, float]:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # a GPU may still work for the stage that ends
        return time.perf_counter(), processor_seconds(family())


@dataclass
class Answer:
    """What a side says about one step: seconds of wall and processor time by stage, sizes, and shares of stages."""

    stages: dict[str, list[float]]
    counts: dict[str, float]
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def wall(self) -> float:
        return sum(wall for wall, _ in self.stages.values())

    @property
    def processor(self) -> float:
        return sum(processor for _, processor in self.stages.values())


class Line:
    """A side's end of its line to `bench/step.py`: it reads numbers of steps, and writes answers.

    What anything else prints goes to standard error.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def ready(self) -> None:
        """Say that the side has all that it needs."""
        print("{}", file=self._out, flush=True)

    def steps(self) -> Iterator[int]:
        """Numbers of steps to do, until there are no more."""
        while text := sys.stdin.readline():
            yield int(text)

    async def awaited_steps(self) -> AsyncIterator[int]:
        """The same, with the event loop free meanwhile."""
        while text := await asyncio.to_thread(sys.stdin.readline):
            yield int(text)

    def answer(self, answer: Answer) -> None:
        print(json.dumps(asdict(answer)), file=self._out, flush=True)


def work_path(folder: Path, step: int) -> Path:
    """Where the work of a step is written; step 0 is seeding."""
    return folder / f"step-{step}.json"


def texts_of(folder: Path, steps: Iterable[int]) -> dict[str, list[str]]:
    """What the model wrote in recorded steps, by key."""
    return {request.key: request.texts for step in steps for request in Work.read(work_path(folder, step)).requests}
