"""Who answers: a model, the gold answers, or a broken variant; all by way of the same template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Protocol

from azr.evals.problems import Problem
from azr.evals.templates import Template
from azr.evals.variants import Forged, Variant
from azr.rollout.base import Generator, Renderer, Sampling


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion.

    Attributes:
        text: what was written.
        tokens: how many tokens that took; None where no model wrote it, or a server does not tell.
        finished: whether it came to its own end.
    """

    text: str
    tokens: int | None = None
    finished: bool = True


class Answerer(Protocol):
    """Writes completions."""

    @property
    def window(self) -> int:
        """How many problems are put to it at once."""
        ...

    @property
    def seconds(self) -> float | None:
        """The time limit that its programs get; None for that of the evaluation."""
        ...

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Complete a prompt.

        Args:
            problem: what the prompt asks.
            prompt: the text.
            key: names the random streams.
            samples: how many completions; fewer may come, none where the prompt is too long.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelAnswerer:
    """A model, sampled in this process.

    Attributes:
        generator: samples from it.
        sampling: how; a completion ends earlier where the model's context does.
        render: makes a prompt of a text to which the template has been applied.
        context: tokens that prompt and completion may have together.
        window: how many problems are put to it at once.
        seconds: see `Answerer`.
    """

    generator: Generator
    sampling: Sampling
    render: Renderer
    context: int
    window: int = 64
    seconds: float | None = None

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Sample completions."""
        rendered = self.render(prompt)
        room = min(self.sampling.max_new_tokens, self.context - rendered.length)
        if room < 1:
            return ()
        sampling = replace(self.sampling, max_new_tokens=room)
        drawn = await self.generator.sample(rendered, n=samples, key=key, sampling=sampling)
        return [Reply(sample.text, sample.tokens, sample.finished) for sample in drawn]


@dataclass(frozen=True, slots=True)
class ServedAnswerer:
    """A model that a server has, which knows alone how long a prompt is."""

    generator: Generator
    sampling: Sampling
    render: Renderer
    window: int = 64
    seconds: float | None = None

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Ask for completions."""
        from azr.rollout.openai_client import PromptTooLongError

        try:
            rendered = self.render(prompt)
            drawn = await self.generator.sample(rendered, n=samples, key=key, sampling=self.sampling)
        except PromptTooLongError:
            return ()
        return [Reply(sample.text, sample.tokens, sample.finished) for sample in drawn]


@dataclass(frozen=True, slots=True)
class GoldAnswerer:
    """The benchmark's own answers, written as a model would write them."""

    template: Template
    window: int = 512
    seconds: float | None = None

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """The gold answer, so many times."""
        return [Reply(self.template.completion(problem, problem.gold))] * samples


@dataclass(frozen=True, slots=True)
class BrokenAnswerer:
    """One kind of broken answer."""

    template: Template
    variant: Variant | Forged
    window: int = 512

    @property
    def seconds(self) -> float | None:
        """See `Variant.seconds`."""
        return self.variant.seconds

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """The broken answer, so many times; where there are several, each of them once or more."""
        answers = self.variant.answers(problem)
        texts = [self.template.completion(problem, answer) if answer else "" for answer in answers]
        return [Reply(text) for _, text in zip(range(max(samples, len(texts))), cycle(texts), strict=False)]
