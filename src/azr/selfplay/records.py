"""What a step of self-play did, as plain records: attempts, episodes, the step."""

from __future__ import annotations

from dataclasses import dataclass, field

from azr.domains.base import Proposal, ProposalPrompt
from azr.selfplay.stopwatch import Stopwatch
from azr.types import Rollout, Sample, Task, Verdict


@dataclass(slots=True)
class Attempts:
    """n attempts at one task, all of one prompt.

    Attributes:
        id: "step/solve/kind/index"; attempt a of it is "<id>/a".
        task: what is attempted.
        samples, verdicts: one of each an attempt, in the same order.
        learnt: whether they are the solver's rollouts, or only measure learnability.
    """

    id: str
    task: Task
    samples: tuple[Sample, ...]
    verdicts: tuple[Verdict, ...]
    learnt: bool

    @property
    def scores(self) -> list[float]:
        """1 for an attempt that is entirely right, else 0, partial credit or not; what solve rates are taken from."""
        return [float(verdict.passed) for verdict in self.verdicts]


@dataclass(slots=True)
class Episode:
    """One proposal and all that came of it."""

    id: str
    prompt: ProposalPrompt
    sample: Sample
    proposal: Proposal
    attempts: Attempts | None = None
    intrinsic: dict[str, float] = field(default_factory=dict)

    @property
    def task(self) -> Task | None:
        """The task, where the proposal was accepted."""
        return self.proposal.task


@dataclass(slots=True)
class StepRecord:
    """Everything that one step of self-play did, in the order of its episodes.

    Attributes:
        step: its number; 0 is seeding.
        episodes: all proposals.
        solved: attempts at tasks outside this step's episodes, or drawn anew.
        admitted: tasks that entered the buffer, stamped.
        rollouts: what is learnt from, in the order of their ids.
        stopwatch: where the time of the episodes went.
    """

    step: int
    episodes: list[Episode]
    solved: list[Attempts]
    admitted: list[Task]
    rollouts: list[Rollout]
    stopwatch: Stopwatch

    def attempts(self) -> list[Attempts]:
        """All attempts: at the episodes' own tasks, then at the others."""
        return [episode.attempts for episode in self.episodes if episode.attempts is not None] + self.solved
