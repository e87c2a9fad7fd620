"""A generator that asks a person for one role, and a domain that keeps its prompts readable for people."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np

from azr.domains.base import Domain, Form, Part, ProposalPrompt
from azr.rollout.base import Generator, Sampling
from azr.types import Kind, Prompt, Role, Sample, Task

Person: TypeAlias = Callable[[str], str]
"""Maps a prompt for people to the text that the model would have had to write."""


class Stage:
    """A domain in the model's style that plays one kind, and keeps its `last_prompt` in the style for people.

    `words` is the same domain in the style `chat`, whose prompts people can read.
    """

    def __init__(self, domain: Domain, words: Domain, kind: Kind) -> None:
        self._domain, self._words, self.kinds, self.last_prompt = domain, words, (kind,), ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Prompt the model; both styles draw the same random numbers."""
        self.last_prompt = self._words.propose_prompt(kind, references, deepcopy(rng)).text
        return self._domain.propose_prompt(kind, references, rng)

    def solve_prompt(self, task: Task) -> str:
        """Prompt the model to solve a task."""
        self.last_prompt = self._words.solve_prompt(task)
        return self._domain.solve_prompt(task)


class Seats:
    """A `Generator` that asks a person for one role, with the last prompt of `stage`, and the model for the other."""

    def __init__(self, model: Generator, role: Role, person: Person, stage: Stage) -> None:
        self._model, self._role, self._person, self._stage = model, role, person, stage

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Sample from the person or the model, by the role in the key; a person's one text stands for all n samples."""
        if key.split("/")[1] != self._role:
            return await self._model.sample(prompt, n=n, key=key, sampling=sampling)
        text = self._person(self._stage.last_prompt)
        return (Sample((), (), (), text, finished=True),) * n

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Update the model."""
        await self._model.update_weights(version, weights)


class PlainForm:
    """A `Form` for domains that have none of their own: one text, the answer."""

    def parts(self, role: Role, kind: Kind) -> Sequence[Part]:
        """One part, the answer."""
        return [Part("answer", lines=True)]

    def written(self, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
        """The answer in its tags."""
        return f"<answer>{values['answer'][0]}</answer>"

    def first(self, kind: Kind, values: Mapping[str, Sequence[str]]) -> None:
        """None: no proposal builds on another."""


def text_of(form: Form, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
    """The text that the model would have had to write.

    A part called "answer" is the only part of an answer, or a whole proposal in the domain's notation. If it contains
    answer tags, it is used unchanged.
    """
    if "answer" not in values:
        return form.written(role, kind, values)
    (text,) = values["answer"]
    if role == Role.SOLVE and "<answer>" not in text:
        (part,) = form.parts(role, kind)
        return form.written(role, kind, {part.name: [text]})
    return text if "<answer>" in text else f"<answer>{text}</answer>"
