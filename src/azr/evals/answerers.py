"""What writes the completions: a model, the gold answers, or a broken variant, all through the same template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Protocol

from azr.evals.problems import Problem
from azr.evals.templates import Template
from azr.evals.variants import Forged, Variant
from azr.rollout.base import Generator, Renderer, Sampling
from azr.rollout.openai_client import PromptTooLongError


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion.

    Attributes:
        text: what was written.
        tokens: its length in tokens; None if no model wrote it, or if the server does not report it.
        finished: whether the model ended it, rather than a limit.
    """

    text: str
    tokens: int | None = None
    finished: bool = True


class Answerer(Protocol):
    """Writes completions."""

    @property
    def window(self) -> int:
        """How many problems are answered at once."""
        ...

    @property
    def seconds(self) -> float | None:
        """Time limit of its programs in seconds; None for the evaluation's."""
        ...

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Complete a prompt.

        Args:
            problem: what the prompt asks.
            prompt: the text.
            key: names the random streams.
            samples: how many completions.

        Returns:
            the completions; fewer than `samples` are allowed, and none if the prompt is too long.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelAnswerer:
    """A model, loaded in this process or on a server.

    Attributes:
        generator: samples from it.
        sampling: its settings; a completion also ends where the model's context does.
        render: turns a text to which the template has been applied into a prompt.
        context: most tokens of prompt and completion together; None if only the server knows.
        window: how many problems are answered at once.
        seconds: see `Answerer`.
    """

    generator: Generator
    sampling: Sampling
    render: Renderer
    context: int | None = None
    window: int = 64
    seconds: float | None = None

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Sample completions; none if the prompt leaves no room for one."""
        rendered, sampling = self.render(prompt), self.sampling
        if self.context is not None:
            room = min(sampling.max_new_tokens, self.context - rendered.length)
            if room < 1:
                return ()
            sampling = replace(sampling, max_new_tokens=room)
        try:
            drawn = await self.generator.sample(rendered, n=samples, key=key, sampling=sampling)
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
        """The gold answer, `samples` times."""
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
        """The broken answers in turn, each at least once."""
        answers = self.variant.answers(problem)
        texts = [self.template.completion(problem, answer) if answer else "" for answer in answers]
        return [Reply(text) for _, text in zip(range(max(samples, len(texts))), cycle(texts), strict=False)]
