"""A base class for domains whose tasks can be checked without running what the model wrote.

A subclass has six short methods. This class applies the prompt style, finds answers in texts, refuses references and
held-out tasks, and draws seeds and held-out sets.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from azr.config import DomainConfig, SandboxConfig
from azr.domains.answers import (
    ANSWER_RULE,
    MalformedError,
    RefusedError,
    RejectedError,
    answer_of,
    dress,
    short_answer_of,
)
from azr.domains.base import Proposal, ProposalPrompt, Sources, make_task
from azr.errors import UserError
from azr.sandbox.base import Sandbox
from azr.streams import stream
from azr.types import JSON, Kind, Task, Verdict

Settings = TypeVar("Settings", bound=DomainConfig)
Data = Mapping[str, JSON]

WITHHELD = 6
"""One task in this many is never trained on; held-out sets are drawn from these."""
PATIENCE = 5000
"""After this many draws without a new task, there are taken to be no more."""


class ExactDomain(ABC, Generic[Settings]):
    """Implements `azr.domains.base.Domain` with the methods of a subclass.

    Attributes:
        config: the domain's settings.
        kinds: the kinds to play.
    """

    def __init__(self, config: Settings, sandbox: SandboxConfig) -> None:
        self.config, self.kinds, self.name = config, config.kinds, config.name

    # What a subclass must implement

    @abstractmethod
    def draw(self, kind: Kind, rng: np.random.Generator) -> Data:
        """Data of a random task, including the gold value, for seeds and held-out sets."""

    @abstractmethod
    def propose_text(self, kind: Kind, references: Sequence[Task]) -> str:
        """Ask for a new task that differs from the references, in the form that `parse` reads."""

    @abstractmethod
    def parse(self, kind: Kind, text: str) -> Data:
        """Read a task's data, including the gold value, from the answer of a proposal, which can be any text.

        Raises:
            MalformedError: the text does not have the form that the prompt asks for.
            RejectedError: it has the form, but is not a valid task.
        """

    @abstractmethod
    def solve_text(self, task: Task) -> str:
        """Pose a task, without its gold value."""

    @abstractmethod
    def answer(self, task: Task) -> str:
        """The gold value as an answer."""

    @abstractmethod
    def correct(self, task: Task, answer: str) -> bool:
        """Whether an answer, which can be any text, is right.

        Raises:
            MalformedError: the text does not have the form that the prompt asks for.
        """

    # What it may override

    def shape(self, kind: Kind, data: Data) -> str:
        """A text that near duplicates share; by default only equal tasks do."""
        return json.dumps(data, sort_keys=True)

    def withheld(self, task: Task) -> bool:
        """Whether a task is kept for the held-out sets, so that no proposal of it is accepted."""
        return int(task.fingerprint, 16) % WITHHELD == 0

    def complexity(self, task: Task) -> float:
        """Complexity; by default the length of the text in units of 100 characters."""
        return len(self.solve_text(task)) / 100

    def length(self, task: Task) -> int:
        """Number of steps that a solver must follow; by default the number of words of the text."""
        return len(self.solve_text(task).split())

    def similarity(self, one: Task, other: Task) -> float:
        """Similarity; by default 1 if two tasks have the same shape, else 0."""
        return float(one.shape == other.shape)

    def trivial(self, task: Task) -> str | None:
        """The name of a degenerate form; by default none."""
        return None

    def show(self, task: Task) -> str:
        """The task and its gold value for people."""
        return f"{self.solve_text(task).strip()}\n-> {self.answer(task)}"

    # The rest of the protocol

    def task(self, kind: Kind, data: Data, parents: Sequence[Task] = ()) -> Task:
        """Make a task from its data."""
        fingerprint = json.dumps(data, sort_keys=True)
        return make_task(kind, data, fingerprint=fingerprint, shape=self.shape(kind, data), parents=parents)

    def seeds(self) -> Sequence[Task]:
        """One task per kind, always the same ones."""
        return [self.samples(kind, 1)[0] for kind in self.kinds]

    def sources(self, kind: Kind) -> Sources:
        """References are tasks of the same kind."""
        return Sources((kind,))

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Ask for a task in the configured style."""
        return ProposalPrompt(kind, self._dressed(self.propose_text(kind, references)), tuple(references))

    async def validate(self, prompt: ProposalPrompt, text: str, sandbox: Sandbox) -> Proposal:
        """Parse a proposal, and reject one that repeats a reference or a held-out task."""
        try:
            task = self.task(prompt.kind, self.parse(prompt.kind, answer_of(text)), prompt.references)
            if task.fingerprint in {reference.fingerprint for reference in prompt.references}:
                raise RejectedError("repeats_a_reference")
            if self.withheld(task):
                raise RejectedError("held_out")
        except RefusedError as error:
            return Proposal(error.verdict)
        return Proposal(Verdict(True, 1.0, "accepted"), task)

    def solve_prompt(self, task: Task) -> str:
        """Pose a task in the configured style."""
        return self._dressed(self.solve_text(task))

    async def verify(self, task: Task, text: str, sandbox: Sandbox) -> Verdict:
        """Judge the last answer, boxed or not."""
        try:
            right = self.correct(task, short_answer_of(text))
        except MalformedError as error:
            return error.verdict
        return Verdict(True, 1.0, "correct") if right else Verdict(True, 0.0, "wrong")

    def gold(self, task: Task) -> str:
        """The gold answer in the form that `verify` reads."""
        return f"<answer>{self.answer(task)}</answer>"

    async def held_out(self, count: int, sandbox: Sandbox) -> Sequence[Task]:
        """Distinct withheld tasks of each kind, always the same ones; fewer than `count` if there are no more."""
        return [task for kind in self.kinds for task in self._draws(kind, count, withheld=True)]

    def samples(self, kind: Kind, count: int) -> list[Task]:
        """Distinct tasks that are not withheld, always the same ones.

        Raises:
            UserError: under these settings there are none.
        """
        found = self._draws(kind, count, withheld=False)
        if not found:
            raise UserError(f"domain {self.name}: its settings leave no {kind} task to start from; widen their range")
        return found

    def _draws(self, kind: Kind, count: int, *, withheld: bool) -> list[Task]:
        rng = stream(0, self.name, kind, "held-out" if withheld else "sample")
        found: dict[str, Task] = {}
        vain = 0
        while len(found) < count and vain < PATIENCE:
            task = self.task(kind, self.draw(kind, rng))
            vain += 1
            if self.withheld(task) == withheld and task.fingerprint not in found:
                found[task.fingerprint], vain = task, 0
        return list(found.values())

    def _dressed(self, text: str) -> str:
        if self.config.style == "compact":
            return text
        return dress(f"{ANSWER_RULE}\n\n{text.strip()}", self.config.style)
