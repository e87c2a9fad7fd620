"""Alarms: known failures of self-play, in words, with the steps in which they occur."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from statistics import fmean

from azr.analysis.figures import StepFigures
from azr.analysis.held_out import Evaluation
from azr.analysis.text import percent

WINDOW = 5
"""Steps over which a share is computed, since a single bad step is no collapse."""
NOVELTY_ALARM = 0.5
"""Novelty, as a share of its value in the first steps, below which new tasks are too close to their references."""
KNOWN_ALARM = 0.5
"""Share of new tasks with the shape of an earlier task above which the curriculum narrows, if the share has doubled."""

ANSWER_ALARM = 0.05
"""Mean share of the buffer's tasks with a new task's answer above which answers repeat, if it has quadrupled.

In a healthy run of the demo it stays below 0.01. In a run whose programs all ended in [9, 9, 9] it rose from 0 to 0.11.
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A failure in words, with its first and its last step; `until` is None while it lasts."""

    text: str
    since: int
    until: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A share that should stay on one side of a threshold.

    Attributes:
        words: of the alarm, with the fields `{share}` and `{when}`.
        count: of a step; numerator and denominator of the share.
        over, under: the threshold; one of them.
    """

    words: str
    count: Callable[[StepFigures], tuple[float, float]]
    over: float = inf
    under: float = -inf

    def alarms(self, steps: Sequence[StepFigures]) -> Iterator[Alarm]:
        """One for each run of steps in which the share over the last `WINDOW` steps is on the wrong side."""
        windows = [steps[at - WINDOW + 1 : at + 1] if at + 1 >= WINDOW else () for at in range(len(steps))]
        for bad, group in groupby(range(len(steps)), key=lambda at: self.bad(windows[at])):
            if bad:
                places = list(group)
                span, lasts = [steps[at] for at in places], places[-1] == len(steps) - 1
                first, last = span[0].step, span[-1].step
                when = f"since step {first}" if lasts else f"from step {first} to {last}"
                yield Alarm(self.text(span, when), first, None if lasts else last)

    def bad(self, steps: Sequence[StepFigures]) -> bool:
        """Whether the share over these steps is on the wrong side; not if there is nothing to measure."""
        share = self._share(steps)
        return share is not None and (share > self.over or share < self.under)

    def text(self, steps: Sequence[StepFigures], when: str) -> str:
        """The words, with the share over these steps."""
        return self.words.format(share=percent(self._share(steps) or 0.0), when=when)

    def _share(self, steps: Sequence[StepFigures]) -> float | None:
        counts = [self.count(step) for step in steps]
        total = sum(whole for _, whole in counts)
        return sum(part for part, _ in counts) / total if total else None


def alarms(steps: Sequence[StepFigures], evaluations: Sequence[Evaluation]) -> list[Alarm]:
    """All alarms of a run, from its complete steps (without seeding) and evaluations; those that last come first."""
    found = [alarm for watch in _watches(steps) for alarm in watch.alarms(steps)]
    found += [*_drifts(steps), *_losses(evaluations)]
    return sorted(found, key=lambda alarm: (alarm.until is not None, alarm.since))


def step_alarms(step: StepFigures) -> list[str]:
    """The alarms of one step by itself, in words."""
    return [watch.text([step], f"in step {step.step}") for watch in _watches([step]) if watch.bad([step])]


def _watches(steps: Sequence[StepFigures]) -> list[Watch]:
    return [*map(_form_watch, sorted({form for step in steps for form in step.trivial})), *WATCHES]


def _form_watch(form: str) -> Watch:
    name = form.replace("_", " ").replace("{", "{{").replace("}", "}}")
    words = f"{{share}} of new tasks {{when}} are {name} functions"
    return Watch(words, lambda step: (step.trivial.get(form, 0), step.accepted), over=0.2)


def _proposals(step: StepFigures) -> int:
    return sum(kind.proposals for kind in step.kinds.values())


def _unfinished(step: StepFigures) -> tuple[float, float]:
    roles = step.roles.values()
    return sum((role.unfinished or 0.0) * role.rollouts for role in roles), sum(role.rollouts for role in roles)


WATCHES = (
    Watch("only {share} of new tasks {when} differ in shape", lambda s: (s.shapes, s.accepted), under=0.34),
    Watch("only {share} of proposals {when} are valid", lambda s: (s.accepted, _proposals(s)), under=0.1),
    Watch("no attempt solves {share} of new tasks {when}", lambda s: (s.bands[0], sum(s.bands)), over=0.9),
    Watch("every attempt solves {share} of new tasks {when}", lambda s: (s.bands[1], sum(s.bands)), over=0.9),
    Watch("{share} of rollouts {when} have no advantage", lambda s: (s.flat, s.rollouts), over=0.9),
    Watch("{share} of rollouts {when} are cut at the token limit", _unfinished, over=0.5),
)
"""Beyond these thresholds a step teaches next to nothing. One more, at a fifth, is for each degenerate form of task."""


def _drifts(steps: Sequence[StepFigures]) -> Iterator[Alarm]:
    """Measures that have moved too far from their values in the first steps."""
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
    if found := _since(list(_repeated(steps)), lambda first, now: now > max(ANSWER_ALARM, 4 * first)):
        since, first, now = found
        words = (
            f"the answer of a new task since step {since} is that of {percent(now)} of tasks, {percent(first)} at first"
        )
        yield Alarm(words, since, None)


def _repeated(steps: Sequence[StepFigures]) -> Iterator[tuple[int, float]]:
    """Steps, and the mean share of the buffer's tasks that have the answer of a new one."""
    for step in steps:
        rarity = [(kind.diversity, kind.accepted) for kind in step.kinds.values() if kind.diversity is not None]
        if total := sum(accepted for _, accepted in rarity):
            yield step.step, 1 - sum(mean * accepted for mean, accepted in rarity) / total


def _since(
    values: Sequence[tuple[int, float]], gone: Callable[[float, float], bool]
) -> tuple[int, float, float] | None:
    """The step since which the mean over `WINDOW` steps is too far from the first such mean, and both means.

    `gone` says whether a later mean (second argument) is too far from the first. If the last one is not: None.
    """
    means = [fmean(value for _, value in values[at : at + WINDOW]) for at in range(len(values) - WINDOW + 1)]
    away = [gone(means[0], mean) for mean in means]
    if not any(away[-1:]):
        return None
    back = len(away) - away[::-1].index(False)  # the first window is not away from itself
    return values[WINDOW - 1 + back][0], means[0], means[-1]


def _losses(evaluations: Sequence[Evaluation]) -> Iterator[Alarm]:
    """Held-out accuracy that is significantly below the untrained model's at the end."""
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
