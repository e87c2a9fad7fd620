"""The family tree of tasks: every proposal with its parents and verdict, and how often it was solved, as columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from azr.analysis.figures import marks
from azr.analysis.step import OpenStep, Written

COLUMNS = (
    *("step", "kind", "index", "reason", "task", "parents", "form", "admitted", "solved", "attempts"),
    *("novelty", "complexity", "diversity", "reward", "advantage", "tokens"),
)


@dataclass(slots=True)
class Family:
    """All proposals of a run, in the order of its events; entry i of every column is the i-th proposal.

    Attributes:
        kinds, reasons, forms: the number that stands for each of these words in the columns.
        columns: step, kind, index (within kind and step), reason, task ("" if rejected), parents, form (degenerate; -1
            for none), admitted, solved and attempts (in its own episode), novelty, complexity, diversity (None without
            a task), reward, advantage (None if nothing was learnt from it), tokens.
        later: attempts at a task outside the episode that proposed it: (step, index, solved, attempts), by task.
        given: tasks without events (seeds of the domain or of a file), by id.
    """

    kinds: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    forms: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    later: dict[str, list[tuple[int, int, int, int]]] = field(default_factory=dict)
    given: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, step: OpenStep) -> None:
        """Add a step's proposals, and its attempts at older tasks."""
        groups = step.groups()
        for proposal in step.proposals.values():
            own = groups.pop(proposal.id.replace("/propose/", "/solve/"), [])
            for name, value in zip(COLUMNS, self._row(step.step, proposal, own), strict=True):
                self.columns[name].append(value)
        for name, attempts in groups.items():
            solved = (step.step, index_of(name), int(sum(marks(attempts))), len(attempts))
            self.later.setdefault(attempts[0].task or "", []).append(solved)

    def give(self, task: Mapping[str, Any]) -> None:
        """Add a line of seed.jsonl, in case the task has no event."""
        self.given[task["id"]] = {"kind": task["kind"], "data": task["data"], "parents": task.get("parents", ())}

    def data(self) -> dict[str, Any]:
        """As JSON, with those given tasks that are referred to."""
        known, needed = set(self.columns["task"]), set(self.later)
        needed.update(parent for parents in self.columns["parents"] for parent in parents)
        return {
            "kinds": list(self.kinds),
            "reasons": list(self.reasons),
            "forms": list(self.forms),
            "columns": self.columns,
            "later": self.later,
            "given": {name: task for name, task in self.given.items() if name in needed - known},
        }

    def _row(self, step: int, proposal: Written, own: Sequence[Written]) -> tuple[Any, ...]:
        born = proposal.born or {}
        intrinsic, form = born.get("intrinsic", {}), born.get("trivial")
        return (
            step,
            _number(self.kinds, proposal.kind),
            index_of(proposal.id),
            _number(self.reasons, proposal.reason),
            born["task"]["id"] if born else "",
            list(born["task"].get("parents", ()) if born else proposal.references),
            _number(self.forms, form) if form else -1,
            int(bool(born.get("admitted"))),
            int(sum(marks(own))),
            len(own),
            *(short(intrinsic.get(name)) for name in ("novelty", "complexity", "diversity")),
            short(proposal.reward),
            short(proposal.advantage),
            proposal.tokens,
        )


def _number(words: dict[str, int], word: str) -> int:
    return words.setdefault(word, len(words))


def index_of(name: str) -> int:
    """The last part of an id, "step/role/kind/index"."""
    return int(name.rpartition("/")[2])


def short(value: float | None) -> float | None:
    """Round to four decimals, which is all that the page shows."""
    return round(value, 4) if value is not None and isfinite(value) else None
