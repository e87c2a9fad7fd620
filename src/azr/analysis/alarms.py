"""Alarms: what goes wrong in self-play, in words, and since which step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from azr.analysis.figures import StepFigures
from azr.analysis.held_out import Evaluation
from azr.analysis.text import percent

WINDOW = 5
"""Steps that a share is taken over, since a single bad step is no collapse."""
TRIVIAL_ALARM = 0.2
"""Share of new tasks of one degenerate form, such as identity functions, above which proposing teaches nothing."""
FLAT_ALARM = 0.9
"""Share of rollouts without advantage above which a step teaches next to nothing."""
SHAPE_ALARM = 0.34
"""Distinct shapes per new task below which the proposer repeats itself."""
DEAD_ALARM = 0.9
"""Share of new tasks that no attempt, or every attempt, solves, above which proposals earn next to nothing."""
VALID_ALARM = 0.1
"""Share of valid proposals below which there is hardly anything to solve."""
NOVELTY_ALARM = 0.5
"""Novelty, as a share of what it was in the first steps, below which new tasks have come close to their references."""
KNOWN_ALARM = 0.5
"""Share of new tasks with the shape of an earlier one above which, if it has doubled, the curriculum narrows."""
UNFINISHED_ALARM = 0.5
"""Share of rollouts cut at the token limit above which the limit is what is learnt from."""

Count = Callable[[StepFigures], tuple[float, float]]
"""Of a step: how many are bad, of how many."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that went wrong.

    Attributes:
        text: in words, with numbers over its whole span.
        since: the first step of it.
        until: the last step; None while it lasts.
    """

    text: str
    since: int
    until: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A share that should stay on one side of a threshold.

    Attributes:
        words: of the alarm; `{share}` and `{when}` are filled in.
        count: bad ones and all, in a step.
        over, under: the threshold; one of them.
    """

    words: str
    count: Count
    over: float = inf
    under: float = -inf

    def alarms(self, steps: Sequence[StepFigures]) -> Iterator[Alarm]:
        """One for each span in which the share over the last `WINDOW` steps is on the wrong side."""
        begin: int | None = None
        for at in range(len(steps) + 1):
            bad = at < len(steps) and self._bad(steps[max(0, at - WINDOW + 1) : at + 1])
            if bad and begin is None:
                begin = at
            if not bad and begin is not None:
                yield self._alarm(steps[begin:at], lasts=at == len(steps))
                begin = None

    def of_step(self, step: StepFigures) -> str | None:
        """The alarm of one step taken by itself; None if its share is on the right side."""
        if not self._wrong([step]):
            return None
        return self.words.format(share=percent(self._share([step]) or 0.0), when=f"in step {step.step}")

    def _bad(self, window: Sequence[StepFigures]) -> bool:
        return len(window) == WINDOW and self._wrong(window)

    def _wrong(self, steps: Sequence[StepFigures]) -> bool:
        share = self._share(steps)
        return share is not None and (share > self.over or share < self.under)

    def _share(self, steps: Sequence[StepFigures]) -> float | None:
        counts = [self.count(step) for step in steps]
        total = sum(whole for _, whole in counts)
        return sum(part for part, _ in counts) / total if total else None

    def _alarm(self, span: Sequence[StepFigures], *, lasts: bool) -> Alarm:
        first, last = span[0].step, span[-1].step
        when = f"since step {first}" if lasts else f"from step {first} to {last}"
        share = self._share(span) or 0.0
        return Alarm(self.words.format(share=percent(share), when=when), first, None if lasts else last)


def alarms(steps: Sequence[StepFigures], evaluations: Sequence[Evaluation]) -> list[Alarm]:
    """Everything that is, or was, wrong; what lasts comes first.

    Args:
        steps: complete ones, in order, seeding left out.
        evaluations: of the held-out set, in order.
    """
    found = [alarm for watch in _watches(steps) for alarm in watch.alarms(steps)]
    found += [*_drifts(steps), *_losses(evaluations)]
    return sorted(found, key=lambda alarm: (alarm.until is not None, alarm.since))


def step_alarms(step: StepFigures) -> list[str]:
    """What is wrong with one step, in words: the same watches over a window of this step alone."""
    return [said for watch in _watches([step]) if (said := watch.of_step(step)) is not None]


def _watches(steps: Sequence[StepFigures]) -> list[Watch]:
    """All watches, one for each degenerate form among them."""
    return [*map(_form_watch, sorted({form for step in steps for form in step.trivial})), *WATCHES]


def _form_watch(form: str) -> Watch:
    words = (
        "{share} of new tasks {when} are " + form.replace("_", " ").replace("{", "{{").replace("}", "}}") + " functions"
    )
    return Watch(words, lambda step: (step.trivial.get(form, 0), step.accepted), over=TRIVIAL_ALARM)


def _proposals(step: StepFigures) -> int:
    return sum(kind.proposals for kind in step.kinds.values())


def _unfinished(step: StepFigures) -> tuple[float, float]:
    roles = step.roles.values()
    return sum((role.unfinished or 0.0) * role.rollouts for role in roles), sum(role.rollouts for role in roles)


NO_ADVANTAGE = "{share} of rollouts {when} have no advantage: they teach nothing"

WATCHES = (
    Watch("only {share} of new tasks {when} differ in shape", lambda s: (s.shapes, s.accepted), under=SHAPE_ALARM),
    Watch("only {share} of proposals {when} are valid", lambda s: (s.accepted, _proposals(s)), under=VALID_ALARM),
    Watch("no attempt solves {share} of new tasks {when}", lambda s: (s.bands[0], sum(s.bands)), over=DEAD_ALARM),
    Watch("every attempt solves {share} of new tasks {when}", lambda s: (s.bands[1], sum(s.bands)), over=DEAD_ALARM),
    Watch(NO_ADVANTAGE, lambda s: (s.flat, s.rollouts), over=FLAT_ALARM),
    Watch("{share} of rollouts {when} are cut at the token limit", _unfinished, over=UNFINISHED_ALARM),
)


def _drifts(steps: Sequence[StepFigures]) -> Iterator[Alarm]:
    """What has moved too far from where it was in the first steps: new tasks come close to old ones."""
    novelty = [(step.step, step.novelty) for step in steps if step.novelty is not None]
    if found := _since(novelty, lambda first, now: now < NOVELTY_ALARM * first):
        since, first, now = found
        words = f"novelty of new tasks since step {since} has fallen to {percent(now / first)} of what it was"
        yield Alarm(words, since, None)
    known = [(step.step, step.known / step.accepted) for step in steps if step.accepted]
    if found := _since(known, lambda first, now: now > max(KNOWN_ALARM, 2 * first)):
        since, first, now = found
        words = f"{percent(now)} of new tasks since step {since} have an earlier one's shape, {percent(first)} at first"
        yield Alarm(words, since, None)


def _since(
    values: Sequence[tuple[int, float]], gone: Callable[[float, float], bool]
) -> tuple[int, float, float] | None:
    """Since which step the mean over `WINDOW` steps has been gone from the first such mean, and both means.

    Args:
        values: by step, in order.
        gone: of the first mean and a later one, whether that is too far away; never of two equal ones.

    Returns:
        None where the last mean is not gone.
    """
    means = [fmean(value for _, value in values[at : at + WINDOW]) for at in range(len(values) - WINDOW + 1)]
    away = [gone(means[0], mean) for mean in means]
    if not any(away[-1:]):
        return None
    back = len(away) - away[::-1].index(False)  # the first window is not away from itself
    return values[WINDOW - 1 + back][0], means[0], means[-1]


def _losses(evaluations: Sequence[Evaluation]) -> Iterator[Alarm]:
    """Held-out accuracy that ends below the untrained model's, where chance does not explain it."""
    since: Evaluation | None = None
    for evaluation in evaluations:
        worse = evaluation.gain is not None and evaluation.gain[1][1] < 0
        since = (since or evaluation) if worse else None
    gain = evaluations[-1].gain if evaluations else None
    if since is not None and gain is not None:
        rise, (low, high) = gain
        points = f"{-100 * rise:.1f} points below the untrained model's"
        span = f"95 % interval of the last {100 * low:+.1f} to {100 * high:+.1f}"
        yield Alarm(f"held-out accuracy since step {since.step} is {points} ({span})", since.step, None)
