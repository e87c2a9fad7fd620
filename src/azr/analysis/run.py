"""From a run's logs to everything that a person is shown of it, in one pass and bounded memory.

    follower = Follower(run)
    follower.poll()                # again for what has been written since
    follower.analysis.close()      # only when the run has ended
    found = follower.analysis
    found.steps[-1].kinds["deduction"].valid, found.evaluations()[-1].accuracy, found.alarms()
    found.data()                   # all of it as JSON, for the page

All figures are computed from the events, except times and the accuracy of a random guess, which are in the metrics.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from azr.analysis.alarms import Alarm, alarms
from azr.analysis.archive import Archive
from azr.analysis.family import Family
from azr.analysis.figures import BANDS, STAGES, Quartiles, StepFigures, figures
from azr.analysis.held_out import Evaluation, HeldOutMarks
from azr.analysis.step import OpenStep, Written
from azr.run.directory import EVENTS, METRICS, SEED, RunDirectory
from azr.run.log import TOKENS, Log

KNOWN = frozenset("proposal attempt verdict task reward advantage tokens update held_out".split())
"""Types of events, see `azr.run.events`."""
KIND = ("valid", "solve_rate", "learnability", "novelty", "complexity", "diversity", "proposals", "accepted")
ROLE = ("reward", "tokens", "unfinished", "rollouts")


class Analysis:
    """Everything that a run's logs say. Malformed events are counted and skipped.

    Attributes:
        steps: complete steps in order, without seeding.
        family: all proposals and the results of their tasks.
        archive: the texts, compressed; None if not wanted.
        seconds: time of each step, by stage (s).
        guess: held-out accuracy of a random guess; None before it is known.
        unknown: counts of skipped events by type, "malformed" for those with missing or wrong fields.
    """

    def __init__(self, *, texts: bool = True) -> None:
        self.steps: list[StepFigures] = []
        self.family = Family()
        self.archive = Archive() if texts else None
        self.seconds: dict[int, Mapping[str, float]] = {}
        self.guess: float | None = None
        self.unknown: Counter[str] = Counter()
        self._open: OpenStep | None = None
        self._shapes: set[str] = set()
        self._last = -1
        self._held_out = HeldOutMarks()

    def feed(self, event: Mapping[str, Any]) -> None:
        """Add one event."""
        name = str(event.get("event", "without a type"))
        if name not in KNOWN:
            self.unknown[name] += 1
            return
        with self._harmless():
            if name in ("proposal", "attempt"):
                written = Written.of(event)
                self._begin(event["step"]).write(written)
            elif name == "held_out":
                self._held_out.add(event["step"], event["kind"], float(event["score"]), _whole(event.get("length")))
            elif name != "tokens":  # only ledgers read these arrays
                if self._open is None or self._open.step != event["step"]:
                    raise ValueError("an event about something that was not written in the open step")
                self._open.add(event)
                if self._open.update is not None:
                    self.close()

    def feed_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line of metrics.jsonl."""
        with self._harmless():
            if "seconds" in record:
                spent = {stage: float(seconds) for stage, seconds in record["seconds"].items()}
                self.seconds[int(record["step"])] = spent
            if "guess" in record.get("held_out", {}):
                self.guess = float(record["held_out"]["guess"])

    def give(self, task: Mapping[str, Any]) -> None:
        """Add one line of seed.jsonl."""
        with self._harmless():
            self.family.give(task)

    def close(self) -> None:
        """End the open step, if any. An incomplete one adds its tasks, but no figures."""
        step, self._open = self._open, None
        if step is None:
            return
        self._last = step.step
        with self._harmless():
            if step.step > 0 and step.update is not None:
                self.steps.append(figures(step, self._shapes))
            self._shapes.update(step.shapes())
            self.family.add(step)
            if self.archive is not None:
                self.archive.add(step)

    def evaluations(self) -> list[Evaluation]:
        """Evaluations of the held-out set, in order."""
        return self._held_out.evaluations()

    def alarms(self) -> list[Alarm]:
        """See `azr.analysis.alarms`."""
        return alarms(self.steps, self.evaluations())

    @property
    def unfinished(self) -> int | None:
        """The step whose events are incomplete; None between steps."""
        return None if self._open is None or self._open.step == 0 else self._open.step

    def data(self) -> dict[str, Any]:
        """Everything but the texts, as JSON."""
        evaluations = self.evaluations()
        return {
            "curves": curves(self.steps, self.seconds),
            "held_out": [{"step": e.step, "tasks": e.tasks, "gain": None} | e.summary() for e in evaluations],
            "guess": self.guess,
            "alarms": [asdict(alarm) for alarm in alarms(self.steps, evaluations)],
            "family": self.family.data(),
            "unfinished": self.unfinished,
            "unknown": dict(self.unknown),
        }

    def _begin(self, number: int) -> OpenStep:
        """The open step; a new number ends the previous step."""
        if self._open is None or self._open.step != number:
            if number <= self._last:
                raise ValueError(f"something written in step {number} after its end")
            self.close()
            self._open = OpenStep(int(number))
        return self._open

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Count a record with missing or wrong fields, and go on."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError):
            self.unknown["malformed"] += 1


class Follower:
    """Reads the logs in a run's folder as they grow, without a lock; without `texts`, in a tenth of the memory.

    Attributes:
        analysis: of everything read so far; a new object if a resumed run truncated its logs.
        offsets: where each step starts in events.jsonl (bytes).

    Raises:
        UserError: not the folder of a run.
    """

    def __init__(self, run: Path, *, texts: bool = True) -> None:
        self.run = RunDirectory.open(run).path
        self._texts = texts
        self._begin()

    def poll(self) -> bool:
        """Read new lines; returns whether there were any.

        Raises:
            UserError: a log cannot be read.
        """
        if self.events.restarted() | self.metrics.restarted():
            self._begin()
        before = self.events.offset + self.metrics.offset
        for at, event in self.events.new():
            step = event.get("step")
            if isinstance(step, int):
                self.offsets.setdefault(step, at)
            self.analysis.feed(event)
        for _, record in self.metrics.new():
            self.analysis.feed_metrics(record)
        for _, task in self._seeds.new():
            self.analysis.give(task)
        return self.events.offset + self.metrics.offset > before

    @property
    def unreadable(self) -> int:
        """Lines of the logs that are not JSON objects."""
        return self.events.unreadable + self.metrics.unreadable

    def _begin(self) -> None:
        self.analysis = Analysis(texts=self._texts)
        self.events, self.metrics = Log(self.run / EVENTS, skip=TOKENS), Log(self.run / METRICS)
        self._seeds = Log(self.run / SEED)  # seeds of the domain or of a file have no events
        self.offsets: dict[int, int] = {}


def curves(steps: Sequence[StepFigures], seconds: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Columns with one entry per complete step, for the charts of the page; None if there is nothing to measure."""
    kinds = dict.fromkeys(kind for step in steps for kind in step.kinds)
    forms = sorted({form for step in steps for form in step.trivial})
    learner = dict.fromkeys(name for step in steps for name in step.learner)
    return {
        "step": [step.step for step in steps],
        "kinds": {
            kind: {name: [_finite(getattr(step.kinds.get(kind), name, None)) for step in steps] for name in KIND}
            for kind in kinds
        },
        "roles": {
            role: {name: [_finite(getattr(step.roles.get(role), name, None)) for step in steps] for name in ROLE}
            for role in ("propose", "solve")
        },
        "band_names": list(BANDS),
        "bands": [list(step.bands) for step in steps],
        "length": _quartiles([step.length for step in steps]),
        "depth": _quartiles([step.depth for step in steps]),
        "trivial": {form: [_share(step.trivial.get(form, 0), step.accepted) for step in steps] for form in forms},
        "shapes": [_share(step.shapes, step.accepted) for step in steps],
        "known_shapes": [_share(step.known, step.accepted) for step in steps],
        "flat": [_share(step.flat, step.rollouts) for step in steps],
        "learner": {name: [_finite(step.learner.get(name)) for step in steps] for name in learner},
        "seconds": {
            stage: [_finite(seconds.get(step.step, {}).get(stage)) for step in steps] for stage in (*STAGES, "step")
        },
    }


def _quartiles(steps: Sequence[Quartiles | None]) -> dict[str, list[float | None]]:
    names = ("low", "median", "high")
    return {name: [None if of is None else _finite(of[at]) for of in steps] for at, name in enumerate(names)}


def _finite(value: float | None) -> float | None:
    """The value, or None if it is not finite: JSON has no infinity."""
    return value if value is not None and isfinite(value) else None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
