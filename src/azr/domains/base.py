"""The domain's contract: everything that self-play has to know of a kind of reasoning, and nothing of models.

A domain turns tasks into prompts, the model's text into tasks and verdicts, and it alone reads `Task.data`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from azr.sandbox.base import Sandbox
from azr.types import JSON, Kind, Role, Task, Verdict


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of a proposer's text: a verdict and, where it was accepted, the task with its gold value."""

    verdict: Verdict
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class ProposalPrompt:
    """What a proposer is asked, and what its text will be checked against.

    Attributes:
        kind: of the task that is asked for.
        text: what the model reads, before any chat template.
        references: the tasks that the prompt shows; they become the parents of what is accepted.
        context: whatever else the domain needs to check the proposal.
    """

    kind: Kind
    text: str
    references: tuple[Task, ...]
    context: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """Which buffers a kind's references come from, and how many at most (None: the configured K)."""

    kinds: tuple[Kind, ...]
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One of the parts that a proposal or an answer is written in, for a person to be asked for.

    Attributes:
        name: such as "program" or "input".
        count: how many of them are asked for.
        lines: whether it may have several lines.
        optional: whether it may be left out.
    """

    name: str
    count: int = 1
    lines: bool = False
    optional: bool = False


class Form(Protocol):
    """What a domain may say besides, so that a person need not write its notation: `azr play` asks part by part."""

    def parts(self, role: Role, kind: Kind) -> Sequence[Part]:
        """What is asked for."""
        ...

    def written(self, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
        """The text that the model would have had to write; `validate` or `verify` reads it."""
        ...

    def first(self, kind: Kind, values: Mapping[str, Sequence[str]]) -> tuple[Kind, str] | None:
        """A proposal, by kind and text, that has to be a task before these parts can be proposed on; None: nothing."""
        ...


class Domain(Protocol):
    """A domain of reasoning tasks. Its methods are pure but for the sandbox that they are handed."""

    @property
    def name(self) -> str:
        """The name that it is registered under."""
        ...

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that are played."""
        ...

    def seeds(self) -> Sequence[Task]:
        """The tasks that every run starts from, at least one for each buffer that is a source."""
        ...

    def sources(self, kind: Kind) -> Sources:
        """Where the references of a kind's proposals come from."""
        ...

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Ask for a new task that differs from the references."""
        ...

    async def validate(self, prompt: ProposalPrompt, text: str, sandbox: Sandbox) -> Proposal:
        """Parse what was proposed on a prompt, run it, and take its gold value. No text may raise."""
        ...

    def solve_prompt(self, task: Task) -> str:
        """Pose a task, without its gold value."""
        ...

    async def verify(self, task: Task, text: str, sandbox: Sandbox) -> Verdict:
        """Judge an attempt on the trusted side. No text whatever may raise."""
        ...

    def complexity(self, task: Task) -> float:
        """How complex a task is, on the domain's own scale; about 1 for a hard one."""
        ...

    def similarity(self, one: Task, other: Task) -> float:
        """How alike two tasks are, from 0 to 1 (the same)."""
        ...

    def gold(self, task: Task) -> str:
        """The gold answer, in the very form that `verify` reads; never shown to the model that is asked."""
        ...

    def trivial(self, task: Task) -> str | None:
        """Name of the degenerate form that a task has, such as "identity" or "constant"; None for an honest one."""
        ...

    async def held_out(self, count: int, sandbox: Sandbox) -> Sequence[Task]:
        """Up to `count` tasks per kind that training never sees, always the same ones."""
        ...

    def show(self, task: Task) -> str:
        """The whole task for people, gold value included."""
        ...


def make_task(
    kind: Kind, data: Mapping[str, JSON], *, fingerprint: str, shape: str, parents: Sequence[Task] = ()
) -> Task:
    """Build a task whose id is the content address of its kind and data.

    Args:
        kind: its kind.
        data: JSON values only.
        fingerprint: any text; equal for exact duplicates. It is stored as a digest.
        shape: any text; equal for near duplicates. It is stored as a digest.
        parents: the references that it was proposed from.
    """
    content = json.dumps([kind, data], sort_keys=True, ensure_ascii=True)
    return Task(
        id=digest(content),
        kind=kind,
        data=dict(data),
        fingerprint=digest(f"{kind}\0{fingerprint}"),
        shape=digest(f"{kind}\0{shape}"),
        parents=tuple(parent.id for parent in parents),
    )


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that stand for a text (64 bits of SHA-256)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
