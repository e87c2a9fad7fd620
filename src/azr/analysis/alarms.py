"""When self-play goes bad, in words and since which step: `azr.analysis.novelty`'s thresholds over spans of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from azr.analysis.figures import StepFigures
from azr.analysis.held_out import Evaluation
from azr.analysis.novelty import DEAD_ALARM, FLAT_ALARM, SHAPE_ALARM, TRIVIAL_ALARM
from azr.analysis.text import percent

WINDOW = 5
"""Steps that a share is taken over: a single bad step is no collapse."""
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

    def _bad(self, window: Sequence[StepFigures]) -> bool:
        share = self._share(window)
        return len(window) == WINDOW and share is not None and (share > self.over or share < self.under)

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
    forms = sorted({form for step in steps for form in step.trivial})
    watches = [*map(_form_watch, forms), *WATCHES]
    found = [alarm for watch in watches for alarm in watch.alarms(steps)]
    found += [*_drifts(steps), *_losses(evaluations)]
    return sorted(found, key=lambda alarm: (alarm.until is not None, alarm.since))


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
    novelty = [(step.step, mean) for step in steps if (mean := _novelty(step)) is not None]
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


def _novelty(step: StepFigures) -> float | None:
    """Mean over the accepted tasks; None where there is none."""
    known = [(kind.novelty, kind.accepted) for kind in step.kinds.values() if kind.novelty is not None]
    weight = sum(accepted for _, accepted in known)
    return sum(value * accepted for value, accepted in known) / weight if weight else None


def _losses(evaluations: Sequence[Evaluation]) -> Iterator[Alarm]:
    """Held-out accuracy that ends below the untrained model's, where chance does not explain it."""
    since: Evaluation | None = None
    for evaluation in evaluations:
        worse = evaluation.gain_interval is not None and evaluation.gain_interval[1] < 0
        since = (since or evaluation) if worse else None
    last = evaluations[-1] if evaluations else None
    if since is not None and last is not None and last.gain is not None and last.gain_interval is not None:
        low, high = last.gain_interval
        points = f"{-100 * last.gain:.1f} points below the untrained model's"
        span = f"95 % interval of the last {100 * low:+.1f} to {100 * high:+.1f}"
        yield Alarm(f"held-out accuracy since step {since.step} is {points} ({span})", since.step, None)
