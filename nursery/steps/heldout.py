"""The held-out sets of `nursery-steps`: one per number of statements, disjoint from all that the model reads."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from azr.domains.python.tasks import load_held_out
from azr.types import DEDUCTION, Task
from nursery.steps.documents import deduction_task
from nursery.steps.language import draw_program, draw_state

SETS = {statements: f"nursery-steps-{statements}" for statements in (3, 4, 6, 8, 12)}
"""Name of the set for each number of statements before the return."""


@cache
def held_out_programs() -> frozenset[str]:
    """All programs in the held-out sets. Variables are always a, b and c, so equal programs have equal texts."""
    tasks = [task for name in SETS.values() for task in load_held_out(name, (DEDUCTION,), 10**6)]
    return frozenset(task.data["program"] for task in tasks)


def is_held_out(program: str) -> bool:
    """Whether a program is in a held-out set."""
    return program in held_out_programs()


def draw_set(statements: int, count: int = 300) -> Iterator[Task]:
    """Draw tasks about different programs with this many statements."""
    rng = random.Random(f"held-out {SETS[statements]}")
    seen: set[str] = set()
    while len(seen) < count:
        program = draw_program(statements, rng)
        if program not in seen:
            seen.add(program)
            yield deduction_task(program, draw_state(rng))


def write_sets(folder: Path, count: int = 300) -> None:
    """Write each set as `NAME.jsonl`, one task per line."""
    folder.mkdir(parents=True, exist_ok=True)
    for statements, name in SETS.items():
        lines = [json.dumps({"kind": task.kind, "data": dict(task.data)}) for task in draw_set(statements, count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
