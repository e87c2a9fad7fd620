"""Records of self-play: attempts, episodes, time per stage, steps."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from azr.domains.base import Proposal, ProposalPrompt
from azr.types import Demonstration, Rollout, Sample, Task, Verdict


class Stopwatch:
    """Adds up seconds by stage. Stages of many coroutines overlap, so only their shares are meaningful."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time within the block towards a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def shares(self, wall: float) -> dict[str, float]:
        """Divide `wall` seconds among the stages, in proportion to their time."""
        total = sum(self.seconds.values())
        return {stage: wall * seconds / total for stage, seconds in self.seconds.items()} if total else {}


@dataclass(frozen=True, slots=True)
class Search:
    """How an attempt of several guesses came about.

    Attributes:
        rejected: texts of the guesses that failed the model's own check, before the one that became the attempt.
        agreed: whether the attempt passed the check; False if it was the last guess, which is not checked.
    """

    rejected: tuple[str, ...]
    agreed: bool


@dataclass(slots=True)
class Attempts:
    """n attempts at one task, sampled from one prompt.

    Attributes:
        id: "step/solve/kind/index"; attempt a has the id "<id>/a".
        task: the task.
        samples, verdicts: one per attempt, in the same order.
        learnt: whether they are trained on; False if they only measure learnability.
        intrinsic: of each attempt, the values of the solver's plug-ins by name; empty without any.
        searches: of each attempt; empty without search.
        demonstrations: answers to learn that come from these attempts, from the task itself, or from its proposal.
    """

    id: str
    task: Task
    samples: tuple[Sample, ...]
    verdicts: tuple[Verdict, ...]
    learnt: bool
    intrinsic: tuple[dict[str, float], ...] = ()
    searches: tuple[Search, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()

    @property
    def scores(self) -> list[float]:
        """1 for each attempt that is entirely right, else 0, even with partial credit. A solve rate is their mean."""
        return [float(verdict.passed) for verdict in self.verdicts]


@dataclass(slots=True)
class Episode:
    """One proposal and all that followed from it; `intrinsic` has the values of its intrinsic rewards by name."""

    id: str
    prompt: ProposalPrompt
    sample: Sample
    proposal: Proposal
    attempts: Attempts | None = None
    intrinsic: dict[str, float] = field(default_factory=dict)

    @property
    def task(self) -> Task | None:
        """The task; None unless the proposal was accepted."""
        return self.proposal.task


@dataclass(slots=True)
class StepRecord:
    """The results of one step of self-play, in the order of its episodes.

    Attributes:
        step: its number; 0 is seeding.
        episodes: all proposals.
        solved: attempts besides those in `episodes`.
        admitted: tasks that were added to the buffer, stamped.
        rollouts: the training batch, ordered by id.
        stopwatch: time per stage.
    """

    step: int
    episodes: list[Episode]
    solved: list[Attempts]
    admitted: list[Task]
    rollouts: list[Rollout]
    stopwatch: Stopwatch

    def demonstrations(self) -> list[Demonstration]:
        """All demonstrations, in the order of the attempts."""
        return [one for attempts in self.attempts() for one in attempts.demonstrations]

    def attempts(self) -> list[Attempts]:
        """All attempts: those of the episodes, then the others."""
        return [episode.attempts for episode in self.episodes if episode.attempts is not None] + self.solved
