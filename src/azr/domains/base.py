"""The contract of a domain: all that self-play needs to know about the tasks.

A domain turns tasks into prompts, and the model's text into tasks and verdicts. Only the domain reads `Task.data`.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from azr.sandbox.base import Sandbox
from azr.types import JSON, Kind, Role, Task, Verdict


@dataclass(frozen=True, slots=True)
class Proposal:
    """The result of a proposal: a verdict and, if it was accepted, the task with its gold value."""

    verdict: Verdict
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class ProposalPrompt:
    """What a proposer is asked, and what is needed to check its text.

    Attributes:
        kind: of the task to propose.
        text: before any chat template.
        references: the tasks that the prompt shows; they become the parents of the accepted task.
        context: anything else that the domain needs to check the proposal.
    """

    kind: Kind
    text: str
    references: tuple[Task, ...]
    context: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """The buffers that a kind's references are drawn from, and how many at most (None: `selfplay.references`)."""

    kinds: tuple[Kind, ...]
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a proposal or an answer, which `azr play` asks a person for.

    Attributes:
        name: such as "program" or "input".
        count: how many texts to ask for.
        lines: whether a text may have several lines.
        optional: whether it may be left out.
    """

    name: str
    count: int = 1
    lines: bool = False
    optional: bool = False


class Form(Protocol):
    """Optional: lets `azr play` ask a person for each part, so that nobody has to write the domain's notation."""

    def parts(self, role: Role, kind: Kind) -> Sequence[Part]:
        """The parts to ask for."""

    def written(self, role: Role, kind: Kind, values: Mapping[str, Sequence[str]]) -> str:
        """The parts in the notation that `validate` or `verify` reads."""

    def first(self, kind: Kind, values: Mapping[str, Sequence[str]]) -> tuple[Kind, str] | None:
        """A proposal, by kind and text, that this one builds on and that must become a task first; None without one."""


class Domain(Protocol):
    """A domain of reasoning tasks. Its methods are pure, except for calls to the sandbox that they are given."""

    @property
    def name(self) -> str:
        """The name of its entry point."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds to play."""

    def seeds(self) -> Sequence[Task]:
        """The tasks that every run starts with, at least one for each buffer that references are drawn from."""

    def sources(self, kind: Kind) -> Sources:
        """The buffers that the references of a kind's proposals are drawn from."""

    def propose_prompt(self, kind: Kind, references: Sequence[Task], rng: np.random.Generator) -> ProposalPrompt:
        """Ask for a new task that differs from the references."""

    async def validate(self, prompt: ProposalPrompt, text: str, sandbox: Sandbox) -> Proposal:
        """Parse a proposal, run it, and keep the result as the gold value. Must not raise for any text."""

    def solve_prompt(self, task: Task) -> str:
        """Pose a task, without its gold value."""

    async def verify(self, task: Task, text: str, sandbox: Sandbox) -> Verdict:
        """Judge an attempt in this process, which the model's programs cannot reach. Must not raise for any text."""

    def complexity(self, task: Task) -> float:
        """Complexity on a scale of the domain's own; about 1 for a hard task."""

    def length(self, task: Task) -> int:
        """Number of steps that a solver must follow, on the domain's own scale. May be missing: see `length_of`."""

    def similarity(self, one: Task, other: Task) -> float:
        """Similarity of two tasks, from 0 to 1 (the same)."""

    def gold(self, task: Task) -> str:
        """The gold answer in the form that `verify` reads; never part of a solve prompt."""

    def trivial(self, task: Task) -> str | None:
        """The name of a degenerate form, such as "identity" or "constant"; None if the task is not degenerate."""

    async def held_out(self, count: int, sandbox: Sandbox) -> Sequence[Task]:
        """Up to `count` tasks per kind that are never trained on; always the same ones."""

    def show(self, task: Task) -> str:
        """The whole task for people, including the gold value."""


@runtime_checkable
class Searchable(Protocol):
    """Optional methods of a domain whose answers can be checked or learnt, for `selfplay.search`.

    Attributes:
        checkable: kinds whose answers the model can check itself, by solving other tasks.
        relabelable: kinds whose wrong answers are the right ones of other tasks.
    """

    checkable: Collection[Kind]
    relabelable: Collection[Kind]

    def checks(self, task: Task, text: str) -> Sequence[Task]:
        """Tasks whose answers follow if the attempt `text` is right; none if it has no answer to check.

        What the attempt was not shown must not be in them.
        """

    async def relabelled(self, task: Task, text: str, sandbox: Sandbox) -> Task | None:
        """A task like `task` that the attempt `text` solves, whose `gold` is its answer; None if there is none."""


@runtime_checkable
class Sized(Protocol):
    """Optional method of a domain whose prompts can ask for a size, for `selfplay.relabel`."""

    def fitting(self, prompt: ProposalPrompt, task: Task) -> str | None:
        """The prompt that asks for what was proposed, an accepted task; None if `prompt` did, or asked for no size."""


def length_of(domain: Domain, task: Task) -> int | None:
    """A task's length; None in a domain without `length`, which domains written for azr 0.1 do not have."""
    measure: Callable[[Task], int | None] | None = getattr(domain, "length", None)
    return None if measure is None else measure(task)


def make_task(
    kind: Kind,
    data: Mapping[str, JSON],
    *,
    fingerprint: str,
    shape: str,
    parents: Sequence[Task] = (),
    depth: int = 0,
) -> Task:
    """Build a task whose id is the content address of its kind and data.

    Args:
        kind: its kind.
        data: JSON values only.
        fingerprint: a text that exact duplicates share; stored as a digest.
        shape: a text that near duplicates share; stored as a digest.
        parents: the references of the proposal.
        depth: 1 + the depth of the task that this one builds on; 0 if it was invented.
    """
    content = json.dumps([kind, data], sort_keys=True, ensure_ascii=True)
    return Task(
        id=digest(content),
        kind=kind,
        data=dict(data),
        fingerprint=digest(f"{kind}\0{fingerprint}"),
        shape=digest(f"{kind}\0{shape}"),
        parents=tuple(parent.id for parent in parents),
        depth=depth,
    )


def digest(text: str) -> str:
    """The first 64 bits of a text's SHA-256, as 16 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
