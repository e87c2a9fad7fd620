"""Where completions come from: a model, the gold answers, or a broken variant, all through the same template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TypeAlias

from azr.evals.problems import Problem
from azr.evals.templates import Template
from azr.evals.variants import Variant
from azr.rollout.base import Generator, Renderer, Sampling
from azr.rollout.openai_client import PromptTooLongError


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion."""

    text: str
    tokens: int | None = None  # its length in tokens; None if no model wrote it, or if the server does not report it
    finished: bool = True  # whether the model ended it, rather than a limit


@dataclass(frozen=True, slots=True)
class ModelAnswerer:
    """A model, loaded in this process or on a server."""

    generator: Generator  # samples from it
    sampling: Sampling  # its settings; a completion also ends at the end of the model's context
    render: Renderer  # turns a text to which the template has been applied into a prompt
    context: int | None = None  # tokens of prompt and completion together, at most; None if only the server knows
    window: int = 64  # number of problems that are answered at once
    seconds: float | None = None  # time limit of its programs; None for the evaluation's

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """Sample completions of a prompt; none if the prompt leaves no room for one. `key` names the random streams."""
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
class FixedAnswerer:
    """Completions that are known beforehand; `seconds` and `window` as in `ModelAnswerer`."""

    completions: Callable[[Problem], Sequence[str]]  # those of a problem
    seconds: float | None = None
    window: int = 512

    async def replies(self, problem: Problem, prompt: str, key: str, samples: int) -> Sequence[Reply]:
        """The problem's completions in turn, each at least once."""
        texts = self.completions(problem)
        return [Reply(text) for text in islice(cycle(texts), max(samples, len(texts)))]


Answerer: TypeAlias = ModelAnswerer | FixedAnswerer


def gold_answerer(template: Template) -> FixedAnswerer:
    """The benchmark's own answers, written as a model would write them."""
    return FixedAnswerer(lambda problem: [template.completion(problem, problem.gold)])


def broken_answerer(template: Template, variant: Variant) -> FixedAnswerer:
    """One kind of broken answer."""

    def completions(problem: Problem) -> list[str]:
        return [template.completion(problem, answer) if answer else "" for answer in variant.answers(problem)]

    return FixedAnswerer(completions, variant.seconds)
