"""Every figure of the report, once more: plain loops over the lines of the logs, sharing no code with `azr.report`."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def lines_of(path: Path) -> list[Event]:
    found = []
    for line in path.read_text().split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


class Recount:
    """Reads everything into memory and counts again for each question."""

    def __init__(self, run: Path) -> None:
        self.events = lines_of(run / "events.jsonl")
        self.metrics = lines_of(run / "metrics.jsonl")
        self.verdict = {e["id"]: e for e in self.events if e["event"] == "verdict"}
        self.reward = {e["id"]: e["reward"] for e in self.events if e["event"] == "reward"}
        self.advantage = {e["id"]: e["advantage"] for e in self.events if e["event"] == "advantage"}
        self.born = {e["proposal"]: e for e in self.events if e["event"] == "task"}
        self.steps = [e["step"] for e in self.events if e["event"] == "update"]

    def of(self, event: str, step: int, kind: str | None = None) -> list[Event]:
        return [
            e for e in self.events if e["event"] == event and e["step"] == step and (kind is None or e["kind"] == kind)
        ]

    def right(self, name: str) -> bool:
        return self.verdict[name]["score"] == 1.0

    def own(self, proposal: str) -> list[str]:
        """Ids of the attempts at a proposal's own task."""
        step, _, kind, index = proposal.split("/")
        attempts = self.of("attempt", int(step))
        return [e["id"] for e in attempts if e["id"].split("/")[:4] == [step, "solve", kind, index]]

    def learnability(self, proposal: str) -> float:
        marks = [self.right(name) for name in self.own(proposal)]
        return 1 - sum(marks) / len(marks) if any(marks) else 0.0

    # By kind

    def valid(self, step: int, kind: str) -> float | None:
        return mean([float(e["id"] in self.born) for e in self.of("proposal", step, kind)])

    def solve_rate(self, step: int, kind: str) -> float | None:
        return mean([float(self.right(e["id"])) for e in self.of("attempt", step, kind)])

    def mean_learnability(self, step: int, kind: str) -> float | None:
        names = [e["id"] for e in self.of("proposal", step, kind) if e["id"] in self.born and self.own(e["id"])]
        return mean([self.learnability(name) for name in names])

    def intrinsic(self, name: str, step: int, kind: str) -> float | None:
        proposals = [e["id"] for e in self.of("proposal", step, kind) if e["id"] in self.born]
        return mean([self.born[proposal]["intrinsic"][name] for proposal in proposals])

    # By role

    def of_role(self, role: str, step: int) -> list[Event]:
        found = self.of("proposal" if role == "propose" else "attempt", step)
        return [e for e in found if e["id"] in self.reward]

    def mean_reward(self, step: int, role: str) -> float | None:
        return mean([self.reward[e["id"]] for e in self.of_role(role, step)])

    def tokens(self, step: int, role: str) -> float | None:
        return mean([e["tokens"] for e in self.of_role(role, step)])

    def unfinished(self, step: int, role: str) -> float | None:
        return mean([float(not e["finished"]) for e in self.of_role(role, step)])

    # By step

    def bands(self, step: int) -> list[int]:
        """None solved, all solved, then learnability up to 1/4, 1/2, 3/4, 1."""
        rows = [0] * 6
        for e in self.of("proposal", step):
            if e["id"] in self.born and (own := self.own(e["id"])):
                right, value = sum(map(self.right, own)), self.learnability(e["id"])
                if right == 0:
                    rows[0] += 1
                elif right == len(own):
                    rows[1] += 1
                elif value <= 0.25:
                    rows[2] += 1
                elif value <= 0.5:
                    rows[3] += 1
                elif value <= 0.75:
                    rows[4] += 1
                else:
                    rows[5] += 1
        return rows

    def trivial(self, form: str, step: int) -> float | None:
        return mean([float(e["trivial"] == form) for e in self.of("task", step)])

    def length(self, step: int) -> list[int]:
        return [e["length"] for e in self.of("task", step)]

    def depth(self, step: int) -> list[int]:
        return [e["task"]["depth"] for e in self.of("task", step)]

    def repeated_shapes(self, step: int) -> float | None:
        shapes = [e["task"]["shape"] for e in self.of("task", step)]
        return 1 - len(set(shapes)) / len(shapes) if shapes else None

    def known_shapes(self, step: int) -> float | None:
        before = {e["task"]["shape"] for earlier in range(step) for e in self.of("task", earlier)}
        return mean([float(e["task"]["shape"] in before) for e in self.of("task", step)])

    def flat(self, step: int) -> float | None:
        return mean([float(e["advantage"] == 0) for e in self.of("advantage", step)])

    def update(self, name: str, step: int) -> float:
        (found,) = self.of("update", step)
        return found[name]

    def seconds(self, step: int) -> dict[str, float]:
        return next(record["seconds"] for record in self.metrics if record["step"] == step and "seconds" in record)

    # Held out

    def marks(self, step: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for e in self.of("held_out", step):
            found.setdefault(e["kind"], []).append(1 if e["score"] == 1.0 else 0)
        return found

    def marks_by_length(self, step: int) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for e in self.of("held_out", step):
            found.setdefault(e["length"], []).append(1 if e["score"] == 1.0 else 0)
        return found

    def accuracy(self, step: int) -> float:
        kinds = [sum(marks) / len(marks) for marks in self.marks(step).values()]
        return sum(kinds) / len(kinds)


def quartiles(values: list[int]) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile: at 1/4, 1/2 and 3/4 of the way from the least to the largest."""
    ordered, found = sorted(values), []
    for share in (0.25, 0.5, 0.75):
        at = share * (len(ordered) - 1)
        below, above = ordered[int(at)], ordered[min(int(at) + 1, len(ordered) - 1)]
        found.append(below + (above - below) * (at - int(at)))
    return (found[0], found[1], found[2]) if ordered else None


def wilson(right: int, tried: int) -> tuple[float, float]:
    """The roots of (p - share)^2 = z^2 p (1 - p) / n."""
    z2, share = 1.959963984540054**2, right / tried
    a, b, c = 1 + z2 / tried, -(2 * share + z2 / tried), share**2
    root = sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def row_of(run: Path, *, accepted: bool = True) -> str:
    """Id of the newest proposal of a run that was accepted and attempted, or rejected."""
    recount = Recount(run)
    proposals = [event["id"] for event in recount.events if event["event"] == "proposal" and event["step"] > 0]
    return next(name for name in reversed(proposals) if (name in recount.born) == accepted)
