"""The types that all packages share: Role, Kind, Task, Prompt, Sample, Verdict, Rollout, Demonstration. All are frozen.

A `Task` is proposed as text, gets its gold value from the sandbox and is kept in a buffer. A `Sample` is what the model
wrote, a `Verdict` its judgement, and a `Rollout` a judged sample with its reward, ready for training.
"""

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
        kind: the kind of reasoning that it needs.
        data: what the domain needs to pose and verify it, including the gold value; JSON values only.
        fingerprint: equal for exact duplicates, apart from formatting and names.
        shape: equal for near duplicates, which differ only in names and constants.
        parents: ids of the tasks that it was proposed from (references, or the program's origin).
        born: the step at which it entered the buffer; 0 for seeds.
        depth: how many times tasks were built on one another to get it; 0 if it was invented.
    """

    id: str
    kind: Kind
    data: Mapping[str, JSON]
    fingerprint: str
    shape: str
    parents: tuple[str, ...] = ()
    born: int = 0
    depth: int = 0


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
        prompt_ids: prompt token ids, without padding; empty if a server does not return them.
        completion_ids: sampled token ids, including the end-of-sequence token if one was sampled; empty as above.
        logprobs: log-probability of each completion token under the sampler, at the sampling temperature (nats).
        text: the decoded completion without the end-of-sequence token; for parsing and display.
        finished: whether the model ended it; False if it was cut at the token limit.
        counted: number of sampled tokens that a server reports, if it returns no ids.
        version: of the weights that sampled it: the number of updates before.
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
        """How many tokens were sampled; None if unknown."""
        return len(self.completion_ids) or self.counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a proposal or an attempt.

    Attributes:
        well_formed: whether the text followed the format that the prompt asked for.
        score: in [0, 1]; for an attempt the share of the answer that is right, for a proposal 1 if accepted, else 0.
        reason: a short code used in events, screens and tables: "correct", "accepted", or the cause ("syntax", ...).
        detail: one line for display; may quote the model, so it must be escaped.
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
    """One judged sample: the unit of training.

    Attributes:
        id: "step/role/kind/episode/attempt", unique within a run.
        cell: (role, kind), which selects its TRR++ baseline.
        group: equal for samples of the same prompt (the baseline of GRPO and RLOO).
        sample: the tokens and their log-probabilities.
        verdict: its judgement.
        reward: the composite reward of Eq. 6, intrinsic rewards included.
    """

    id: str
    cell: Cell
    group: str
    sample: Sample
    verdict: Verdict
    reward: float


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A right answer that was not given to this prompt, to be learnt without a reward.

    Attributes:
        id: that of the attempts or the proposal, "/demonstration/" and a number; unique within a run.
        task: that it answers or proposes; it is in no buffer if an answer is `relabelled`.
        source: "gold" for the answer that the proposer knew, "relabelled" for a wrong answer to another task, "resized"
            for a proposal of another size than it was asked for.
        prompt: as the solver or the proposer would get it.
        text: the answer.
        advantage: of each of its tokens.
    """

    id: str
    task: Task
    source: str
    prompt: Prompt
    text: str
    advantage: float
