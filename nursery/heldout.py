"""The held-out sets: tasks about programs whose normal form appears in no document of the base model.

`nursery-iid` is drawn from the training grammar, `nursery-long` from the same grammar with more statements than in
training, and `nursery-human` was written by hand. They ship with the Python domain, whose `load_held_out` reads them.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from azr.domains.python.syntax import read
from azr.domains.python.tasks import load_held_out
from azr.types import ABDUCTION, DEDUCTION, INDUCTION, Kind, Task
from nursery.documents import arguments_of, induction_task, run_task
from nursery.grammar import LONG, SMALL, Specimen, specimens
from nursery.hints import hint
from nursery.trace import execute

KINDS = (DEDUCTION, ABDUCTION, INDUCTION)
SETS = ("nursery-iid", "nursery-long", "nursery-human")
_SIZES = {"nursery-iid": SMALL, "nursery-long": LONG}
_SHORTEST = {"nursery-iid": 1, "nursery-long": 9}
"""Fewest statements in the body of `f`, its return included; the longest that the base model has seen has 8."""


def excluded_forms() -> frozenset[str]:
    """Normal forms of all programs in the held-out sets, which the base model's documents leave out."""
    tasks = [task for name in SETS for task in load_held_out(name, KINDS, 10**6)]
    return frozenset(read(task.data["program"]).normal for task in tasks)


def draw_set(name: str, count: int = 300) -> Iterator[tuple[Kind, Task]]:
    """Draw `nursery-iid` or `nursery-long`: `count` tasks per kind, each about a different program."""
    seen: set[str] = set()
    drawn = specimens(f"held-out {name}", _SIZES[name])
    fresh = (s for s in drawn if statements(s.program) >= _SHORTEST[name] and not _known(s.program, seen))
    rng = random.Random(name)
    for number in range(count * len(KINDS)):
        yield (kind := KINDS[number % len(KINDS)]), pose(kind, next(fresh), rng)


def pose(kind: Kind, specimen: Specimen, rng: random.Random) -> Task:
    """A task about a program: on one of its executions, or for induction on all of them."""
    if kind == INDUCTION:
        return induction_task(specimen.program, specimen.runs, " ".join(hint(specimen.program)))
    return run_task(kind, specimen.program, rng.choice(specimen.runs))


def human_set() -> Iterator[tuple[Kind, Task]]:
    """The programs written by hand: blocks of `kind | input | input ...` and a program, an empty line between them.

    Raises:
        ValueError: a program fails on one of its inputs.
    """
    text = (resources.files("nursery") / "data" / "human.txt").read_text(encoding="utf-8")
    for block in text.strip().split("\n\n"):
        head, program = block.split("\n", 1)
        kind, *inputs = head.split(" | ")
        runs = [execute(program, arguments_of(text)) for text in inputs]
        if any(run is None for run in runs):
            raise ValueError(f"fails on one of its inputs: {program}")
        specimen = Specimen(program, tuple(run for run in runs if run is not None))
        yield kind, pose(kind, specimen, random.Random(0))


def write_set(name: str, folder: Path) -> None:
    """Write a set as `NAME.jsonl`, one task per line."""
    tasks = human_set() if name == "nursery-human" else draw_set(name)
    lines = [json.dumps({"kind": kind, "data": dict(task.data)}) for kind, task in tasks]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def statements(program: str) -> int:
    """Number of statements in the body of `f`, nested ones not counted."""
    functions = [node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef) and node.name == "f"]
    return len(functions[0].body)


def _known(program: str, seen: set[str]) -> bool:
    form = read(program).normal
    known = form in seen
    seen.add(form)
    return known
