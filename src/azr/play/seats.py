"""Self-play with a person in one of its two seats: a generator, and a domain that explains itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np

from azr.domains.base import Domain, Form, Part, ProposalPrompt
from azr.rollout.base import Generator, Sampling
from azr.types import Kind, Prompt, Role, Sample, Task

Person: TypeAlias = Callable[[str], str]
"""Is told in words what to do, and writes the text that the model would have had to write."""


class Stage:
    """A domain as the model plays it, that keeps in words what was asked last.

    Args:
        domain: in the model's style.
        words: the same domain in the style `chat`, whose prompts people can read.

    Attributes:
        kinds: the kinds that are played: the one of this round.
        told: what was asked last.
    """

    def __init__(self, domain: Domain, words: Domain) -> None:
        self._domain, self._words = domain, words
        self.kinds: tuple[Kind, ...] = domain.kinds
        self.told = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Ask the model, and keep it in words; both draw the same."""
        self.told = self._words.propose_prompt(kind, references, deepcopy(rng)).text
        return self._domain.propose_prompt(kind, references, rng)

    def solve_prompt(self, task: Task) -> str:
        """Pose a task to the model, and keep it in words."""
        self.told = self._words.solve_prompt(task)
        return self._domain.solve_prompt(task)


class Seats:
    """The model in one seat, a person in the other (the `Generator` protocol).

    Args:
        model: plays the other role.
        role: the person's.
        person: asked for every sample of that role.
        told: gives what the person is told.
    """

    def __init__(self, model: Generator, role: Role, person: Person, told: Callable[[], str]) -> None:
        self._model, self._role, self._person, self._told = model, role, person, told

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Ask whose turn it is; the key names the role."""
        if key.split("/")[1] != self._role:
            return await self._model.sample(prompt, n=n, key=key, sampling=sampling)
        text = self._person(self._told())
        return (Sample((), (), (), text, finished=True),) * n

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """As the model does; a person stays as they are."""
        await self._model.update_weights(version, weights)


class PlainForm:
    """The form of a domain that has none of its own: the bare answer (`azr.domains.base.Form`)."""

    def parts(self, role: Role, kind: Kind) -> Sequence[Part]:
        """One text."""
        return [Part("answer", lines=True)]

    def written(self, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
        """The answer in its tags."""
        return f"<answer>{values['answer'][0]}</answer>"

    def first(self, kind: Kind, values: Mapping[str, Sequence[str]]) -> None:
        """Nothing."""


def text_of(form: Form, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
    """The text that the model would have had to write.

    A part called "answer" stands for the one part of an answer, or for a whole proposal in the domain's notation; with
    its tags it is taken as it is.
    """
    if "answer" not in values:
        return form.written(role, kind, values)
    (text,) = values["answer"]
    if "<answer>" in text:
        return text
    if role == Role.SOLVE:
        (part,) = form.parts(role, kind)
        return form.written(role, kind, {part.name: [text]})
    return f"<answer>{text}</answer>"
