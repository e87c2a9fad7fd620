"""One step of self-play, assembled from its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from azr.run.events import Event
from azr.types import Kind


@dataclass(slots=True)
class Written:
    """A proposal or an attempt, with the later events about it."""

    id: str  # "step/role/kind/index", and "/attempt" for an attempt
    kind: Kind
    text: str
    tokens: int | None  # its length; None if the server did not report it
    finished: bool
    task: str | None  # id of the attempted task; None for a proposal
    references: Sequence[str] = ()  # ids of the tasks in a proposal's prompt
    rejected: Sequence[str] = ()  # guesses of an attempt's search that failed the model's own check
    agreed: bool | None = None  # whether an attempt passed that check; None without search
    verdict: Mapping[str, Any] = field(default_factory=dict)  # its `verdict` event; empty until then
    born: Mapping[str, Any] | None = None  # the `task` event of an accepted proposal
    reward: float | None = None  # None if nothing was learnt from it
    advantage: float | None = None  # None if nothing was learnt from it

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Written:
        """From a `proposal` or an `attempt` event. A missing field is a KeyError."""
        attempt = event["event"] == "attempt"
        task, references = (event["task"], ()) if attempt else (None, event["references"])
        about = (event["id"], event["kind"], event["text"], event["tokens"], event["finished"])
        return cls(*about, task, references, event.get("rejected", ()), event.get("agreed"))

    @property
    def passed(self) -> bool:
        """Whether an attempt is right, or a proposal was accepted."""
        return float(self.verdict.get("score", 0.0)) >= 1.0

    @property
    def reason(self) -> str:
        """Of its verdict; "?" if there is none."""
        return str(self.verdict.get("reason", "?"))


@dataclass(slots=True)
class OpenStep:
    """The events of one step, collected as they arrive."""

    step: int
    proposals: dict[str, Written] = field(default_factory=dict)
    attempts: dict[str, Written] = field(default_factory=dict)
    shown: Counter[Kind] = field(default_factory=Counter)  # number of demonstrations
    update: Mapping[str, Any] | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Add an event of this step; types that no figure needs are ignored.

        Raises:
            KeyError: a field is missing, or the id is not of this step.
            TypeError, ValueError: a field has a wrong type.
        """
        match event["event"]:
            case "proposal" | "attempt":
                self.write(Written.of(event))
            case "verdict":
                self._about(event).verdict = event
            case "task":
                event["task"]["id"]
                self.proposals[event["proposal"]].born = event
            case "reward":
                self._about(event).reward = float(event["reward"])
            case "advantage":
                self._about(event).advantage = float(event["advantage"])
            case "demonstration":
                self.shown[event["kind"]] += 1
            case "update":
                self.update = event

    def passing(self, events: Iterable[Event]) -> Iterator[Event]:
        """Add events while they pass through."""
        for event in events:
            self.add(event)
            yield event

    def write(self, written: Written) -> None:
        """Add a proposal or an attempt."""
        (self.proposals if written.task is None else self.attempts)[written.id] = written

    def shapes(self) -> list[str]:
        """Shapes of the accepted tasks, one per task."""
        return [str(p.born["task"].get("shape")) for p in self.proposals.values() if p.born is not None]

    def groups(self) -> dict[str, list[Written]]:
        """Attempts by the prompt that they answer, in order."""
        found: dict[str, list[Written]] = {}
        for attempt in self.attempts.values():
            found.setdefault(attempt.id.rpartition("/")[0], []).append(attempt)
        return found

    def _about(self, event: Mapping[str, Any]) -> Written:
        name = event["id"]
        return self.attempts[name] if name in self.attempts else self.proposals[name]
