"""The words that all else speaks: Role, Kind, Task, Prompt, Sample, Verdict, Rollout. All are frozen.

A `Task` is born as text in a domain, gets its gold value from the sandbox and lives in a buffer; a `Sample` is what the
model wrote; a `Verdict` says what became of it; a `Rollout` is a judged sample, ready to be learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias


class Role(StrEnum):
    """The two roles that the one model plays."""

    PROPOSE = "propose"
    SOLVE = "solve"


Kind: TypeAlias = str
"""A kind of reasoning. Domains may add their own; the paper's three are named here."""

DEDUCTION: Kind = "deduction"
ABDUCTION: Kind = "abduction"
INDUCTION: Kind = "induction"
ERROR: Kind = "error"

Cell: TypeAlias = tuple[Role, Kind]
"""A (role, kind) pair: the unit that has its own baseline in TRR++ (Eq. 8)."""

JSON: TypeAlias = Any
"""A value that the json module writes and reads back unchanged."""


@dataclass(frozen=True, slots=True)
class Task:
    """A validated reasoning task together with its answer key.

    Attributes:
        id: content address, unique within a run.
        kind: the kind of reasoning that it asks for.
        data: what the domain needs to pose and to verify it, gold value included; JSON values only.
        fingerprint: equal for two tasks that are the same but for spelling (exact duplicates).
        shape: equal for two tasks that differ only in names and constants (near duplicates).
        parents: ids of the tasks that it was proposed from (references, or the program's origin).
        born: the step at which it entered the buffer; 0 for seeds.
    """

    id: str
    kind: Kind
    data: Mapping[str, JSON]
    fingerprint: str
    shape: str
    parents: tuple[str, ...] = ()
    born: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it reaches the model.

    Attributes:
        text: the text; the chat template is applied where one is used, unless a server applies it.
        token_ids: its tokens; empty where a server tokenizes it.
        length: in tokens; an estimate on the safe side where a server tokenizes it.
    """

    text: str
    token_ids: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What the model wrote for one prompt: the very tokens that were sampled, never encoded again.

    Attributes:
        prompt_ids: prompt token ids, without padding; none where a server keeps them to itself.
        completion_ids: sampled token ids, the end-of-sequence token included when one was sampled; the same.
        logprobs: log-probability of each completion token under the sampler, at the sampling temperature (nats).
        text: the completion decoded, special end token removed; for parsing and for people.
        finished: whether the model ended it itself (False: cut at the token limit).
        counted: tokens that a server says it sampled, where it gives no ids.
        version: of the weights that drew it: how many updates they had seen.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finished: bool
    counted: int | None = None
    version: int = 0

    @property
    def tokens(self) -> int | None:
        """How many tokens were sampled; None where nobody tells."""
        return len(self.completion_ids) or self.counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a proposal or of an attempt.

    Attributes:
        well_formed: whether the text followed the format that the prompt asked for.
        score: in [0, 1]; for an attempt how much of the answer is right, for a proposal 1 if it was accepted, else 0.
        reason: a short code, the same in events, screens and tables: "correct", "accepted", or why not ("syntax", ...).
        detail: one line for people; may quote the model, so it is always escaped where it is shown.
    """

    well_formed: bool
    score: float
    reason: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether an attempt is entirely right, or a proposal was accepted."""
        return self.score >= 1.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One judged sample: the unit of learning.

    Attributes:
        id: "step/role/kind/episode/attempt", unique within a run.
        cell: (role, kind), the TRR++ baseline that it belongs to.
        group: equal for samples of one and the same prompt (the baseline of GRPO and RLOO).
        sample: the tokens and their log-probabilities.
        verdict: what became of it.
        reward: the composite reward of Eq. 6, intrinsic rewards included.
    """

    id: str
    cell: Cell
    group: str
    sample: Sample
    verdict: Verdict
    reward: float
