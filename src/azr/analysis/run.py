"""From a run's log lines to everything that a person is shown of it: one pass, in bounded memory, at any time.

    found = Analysis()
    for _, event in Log(run / "events.jsonl", skip=TOKENS).new():
        found.feed(event)
    for _, record in Log(run / "metrics.jsonl").new():
        found.feed_metrics(record)
    found.close()                      # only when the run has ended: nothing more will come
    found.steps[-1].kinds["deduction"].valid, found.evaluations()[-1].accuracy, found.alarms()
    found.data()                       # all of it as JSON, for the page

`azr.analysis.follow.Follower` does the reading, for a run that has ended and for one that goes on. Every figure comes
from the events; only how the time of a step was spent, and what a random guess reaches, come from the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from azr.analysis.alarms import Alarm, alarms
from azr.analysis.archive import Archive
from azr.analysis.curves import curves
from azr.analysis.family import Family
from azr.analysis.figures import StepFigures, figures
from azr.analysis.held_out import Evaluation, HeldOutMarks
from azr.analysis.step import OpenStep, Written

KNOWN = frozenset("proposal attempt verdict task reward advantage tokens update held_out".split())
"""Types of events, see `azr.run.events`."""


class Analysis:
    """What a run's events come to.

    Attributes:
        steps: complete steps in order, seeding left out.
        seeding: figures of step 0; None before it is over.
        family: all proposals, and how tasks fared.
        archive: the texts, compressed; None where they are not wanted.
        seconds: how the time of each step was spent, by stage (s).
        guess: held-out accuracy of a random guess; None before it is known.
        unknown: events that were passed over, by type; "malformed" for those that lack what their type has.
    """

    def __init__(self, *, texts: bool = True) -> None:
        self.steps: list[StepFigures] = []
        self.seeding: StepFigures | None = None
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
        """Take in one event; whatever it is, it does no harm."""
        name = str(event.get("event", "without a type"))
        if name not in KNOWN:
            self.unknown[name] += 1
            return
        with self._harmless():
            if name in ("proposal", "attempt"):
                written = Written.of(event)
                self._begin(event["step"]).write(written)
            elif name == "held_out":
                self._held_out.add(event["step"], event["kind"], float(event["score"]))
            elif name != "tokens":  # arrays for ledgers, which are read when one is asked for
                step = self._step(event)
                step.add(event)
                if step.update is not None:
                    self._settle(step)

    def feed_metrics(self, record: Mapping[str, Any]) -> None:
        """Take in one line of metrics.jsonl; whatever it is, it does no harm."""
        with self._harmless():
            if "seconds" in record:
                spent = {stage: float(seconds) for stage, seconds in record["seconds"].items()}
                self.seconds[int(record["step"])] = spent
            if "guess" in record.get("held_out", {}):
                self.guess = float(record["held_out"]["guess"])

    def give(self, task: Mapping[str, Any]) -> None:
        """Take in one line of seed.jsonl; whatever it is, it does no harm."""
        with self._harmless():
            self.family.give(task)

    def close(self) -> None:
        """Nothing more will come: take in the tasks of a step that was cut off. It has no place in the curves."""
        if self._open is not None:
            self._settle(self._open)

    def evaluations(self) -> list[Evaluation]:
        """Of the held-out set, in order."""
        return self._held_out.evaluations()

    def alarms(self) -> list[Alarm]:
        """What is, or was, wrong, in words."""
        return alarms(self.steps, self.evaluations())

    @property
    def unfinished(self) -> int | None:
        """The step whose events are not all there; None between steps."""
        return None if self._open is None or self._open.step == 0 else self._open.step

    def data(self) -> dict[str, Any]:
        """Everything but the texts, as JSON."""
        evaluations = self.evaluations()
        return {
            "curves": curves(self.steps, self.seconds),
            "held_out": [{"step": e.step, "tasks": e.tasks, "gain": None} | e.summary() for e in evaluations],
            "guess": self.guess,
            "alarms": [
                {"text": alarm.text, "since": alarm.since, "until": alarm.until}
                for alarm in alarms(self.steps, evaluations)
            ],
            "family": self.family.data(),
            "unfinished": self.unfinished,
            "unknown": dict(self.unknown),
        }

    def _begin(self, number: int) -> OpenStep:
        """The step that something was written in; a new one ends the one before."""
        if self._open is None or self._open.step != number:
            if number <= self._last:
                raise ValueError(f"something written in step {number} after its end")
            self.close()
            self._open = OpenStep(int(number))
        return self._open

    def _step(self, event: Mapping[str, Any]) -> OpenStep:
        """The step that an event tells more of."""
        if self._open is None or self._open.step != event["step"]:
            raise ValueError(f"an event of step {event['step']}, in which nothing was written")
        return self._open

    def _settle(self, step: OpenStep) -> None:
        """Count a step whose last event is here, keep what is shown, and let go of the rest."""
        self._last, self._open = step.step, None
        with self._harmless():
            if step.step == 0:
                self.seeding = figures(step, self._shapes)
            elif step.update is not None:
                self.steps.append(figures(step, self._shapes))
            self._shapes.update(step.shapes())
            self.family.add(step)
            if self.archive is not None:
                self.archive.add(step)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Count what lacks something that its type has, and go on."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError):
            self.unknown["malformed"] += 1
