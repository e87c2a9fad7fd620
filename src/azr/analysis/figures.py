"""The figures of one step, computed from its events, for metrics, screen, trackers, watch and report."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean

from azr.analysis.statistics import quartiles
from azr.analysis.step import OpenStep, Written
from azr.selfplay.rewards import learnability
from azr.types import Kind

STAGES = ("propose", "validate", "solve", "check", "verify", "learn")
"""The parts of a step whose time is measured."""
BANDS = ("none solved", "all solved", "0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1")
"""Rows of the learnability histogram. Eq. 4 gives 0 for two reasons, shown separately; upper bounds are inclusive."""

Quartiles = tuple[float, float, float]
"""Lower quartile, median and upper quartile."""


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """The attempts of one kind in one step that searched."""

    guesses: float  # mean per attempt
    agreed: float  # share of attempts that passed the model's own check
    right: float | None  # share of these that are right; None if there are none


@dataclass(frozen=True, slots=True)
class KindFigures:
    """One kind in one step; None if there was nothing to measure."""

    proposals: int
    accepted: int  # proposals
    attempts: int  # at all tasks of the kind, old and new
    solved: int  # attempts that are right
    learnability: float | None  # mean of Eq. 4 over the attempted new tasks
    novelty: float | None  # mean over the accepted tasks, as are the next two
    complexity: float | None
    diversity: float | None
    reasons: Mapping[str, int]  # counts of the verdicts on proposals
    answers: Mapping[str, int]  # counts of the verdicts on attempts
    search: SearchFigures | None = None  # None if no attempt searched
    shown: int = 0  # demonstrations

    @property
    def valid(self) -> float | None:
        """Share of proposals that were accepted."""
        return self.accepted / self.proposals if self.proposals else None

    @property
    def solve_rate(self) -> float | None:
        """Share of attempts that are right."""
        return self.solved / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class RoleFigures:
    """One role in one step: means over the rollouts that were learnt from."""

    rollouts: int
    reward: float | None
    tokens: float | None
    unfinished: float | None


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step."""

    step: int
    kinds: Mapping[Kind, KindFigures]
    roles: Mapping[str, RoleFigures]
    bands: tuple[int, ...]  # number of new tasks in each of `BANDS`
    accepted: int  # number of new tasks
    trivial: Mapping[str, int]  # number of new tasks by degenerate form
    shapes: int  # number of different shapes of new tasks
    known: int  # number of new tasks with the shape of a task from an earlier step
    novelty: float | None  # mean over the new tasks; None if there are none
    complexity: float | None  # mean over the new tasks; None if there are none
    length: Quartiles | None  # over the new tasks whose event has one; None if no event has
    depth: Quartiles | None  # the same of their depth of ancestry
    rollouts: int  # number of rollouts that were learnt from
    flat: int  # number of these with advantage 0
    learner: Mapping[str, float]  # the learner's metrics (entropy in nats, clip_share, mismatch_kl in nats, ...)


def figures(step: OpenStep, known: Set[str]) -> StepFigures:
    """Compute the figures of a complete step; `known` are the shapes of the tasks that existed before it."""
    groups = step.groups()
    written = (*step.proposals.values(), *step.attempts.values())
    own = {p.id: groups.get(p.id.replace("/propose/", "/solve/"), []) for p in step.proposals.values()}
    born = [p for p in step.proposals.values() if p.born is not None]
    tried = [marks(own[p.id]) for p in born if own[p.id]]
    learnt = [w for w in written if w.advantage is not None]
    return StepFigures(
        step=step.step,
        kinds={kind: _kind(kind, step, own) for kind in dict.fromkeys(w.kind for w in written)},
        roles={"propose": _role(step.proposals.values()), "solve": _role(step.attempts.values())},
        bands=tuple(Counter(band(scores) for scores in tried)[row] for row in range(len(BANDS))),
        accepted=len(born),
        trivial=Counter(p.born["trivial"] for p in born if p.born and p.born.get("trivial")),
        shapes=len(set(step.shapes())),
        known=sum(shape in known for shape in step.shapes()),
        novelty=_intrinsic("novelty", born),
        complexity=_intrinsic("complexity", born),
        length=_quartiles(p.born.get("length") for p in born if p.born),
        depth=_quartiles(p.born["task"].get("depth") for p in born if p.born),
        rollouts=len(learnt),
        flat=sum(w.advantage == 0.0 for w in learnt),
        learner={k: v for k, v in (step.update or {}).items() if k not in ("event", "step")},
    )


def marks(attempts: Sequence[Written]) -> list[float]:
    """1 or 0 per attempt, for solve rates: a partly right answer counts as wrong."""
    return [float(attempt.passed) for attempt in attempts]


def band(scores: Sequence[float]) -> int:
    """Row of `BANDS` for a task with these marks."""
    solved = sum(scores)
    if solved in (0, len(scores)):
        return 0 if solved == 0 else 1
    value = learnability(scores)
    return 2 + sum(value > bound for bound in (0.25, 0.5, 0.75))


def _kind(kind: Kind, step: OpenStep, own: Mapping[str, Sequence[Written]]) -> KindFigures:
    proposals = [p for p in step.proposals.values() if p.kind == kind]
    attempts = [a for a in step.attempts.values() if a.kind == kind]
    born = [p for p in proposals if p.born is not None]
    return KindFigures(
        proposals=len(proposals),
        accepted=len(born),
        attempts=len(attempts),
        solved=sum(a.passed for a in attempts),
        learnability=_mean(learnability(marks(own[p.id])) for p in born if own[p.id]),
        novelty=_intrinsic("novelty", born),
        complexity=_intrinsic("complexity", born),
        diversity=_intrinsic("diversity", born),
        reasons=Counter(p.reason for p in proposals),
        answers=Counter(a.reason for a in attempts),
        search=_search([a for a in attempts if a.agreed is not None]),
        shown=step.shown[kind],
    )


def _search(attempts: Sequence[Written]) -> SearchFigures | None:
    if not attempts:
        return None
    agreed = [a for a in attempts if a.agreed]
    guesses = fmean(1 + len(a.rejected) for a in attempts)
    return SearchFigures(guesses, len(agreed) / len(attempts), _mean(float(a.passed) for a in agreed))


def _intrinsic(name: str, born: Iterable[Written]) -> float | None:
    found = [p.born.get("intrinsic", {}) for p in born if p.born]
    return _mean(values[name] for values in found if name in values)


def _quartiles(values: Iterable[float | None]) -> Quartiles | None:
    found = [float(value) for value in values if value is not None]
    return quartiles(found) if found else None


def _role(written: Iterable[Written]) -> RoleFigures:
    learnt = [w for w in written if w.reward is not None]
    return RoleFigures(
        rollouts=len(learnt),
        reward=_mean(w.reward for w in learnt if w.reward is not None),
        tokens=_mean(w.tokens for w in learnt if w.tokens is not None),
        unfinished=_mean(float(not w.finished) for w in learnt),
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
