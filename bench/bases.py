"""What the oracle gate needs to know about a base model's language: its prompts, its sets, and its interpreter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from azr.domains.python import prompts
from azr.domains.python.config import PythonConfig
from azr.types import DEDUCTION, Task
from nursery import documents as nursery_documents
from nursery.corpus import fresh
from nursery.documents import Piece
from nursery.grammar import LONG, SMALL, Size, specimens
from nursery.heldout import excluded_forms, statements
from nursery.steps import documents as steps_documents
from nursery.steps.heldout import SETS as STEPS_SETS
from nursery.steps.heldout import is_held_out
from nursery.trace import execute

Documents = Iterator[Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class Language:
    """A base model's language.

    Attributes:
        style: the prompts that it knows.
        sets: held-out sets, shortest programs first.
        opening: what makes it think when it is put in its mouth.
        gold: the attempt that the interpreter makes at a deduction task: the trace between think tags, and the answer.
        documents: gold attempts without end, about longer programs than it was trained on (True) or about such as it
            was trained on (False); none about a program of the sets.
        source: the same by a random number generator, longer and shorter ones in turn.
    """

    style: PythonConfig
    sets: tuple[str, ...]
    opening: str
    gold: Callable[[Task], str]
    documents: Callable[[bool, random.Random], Documents]
    source: Callable[[random.Random], Documents] = field(init=False)

    def __post_init__(self) -> None:
        def alternate(rng: random.Random) -> Documents:
            kinds = self.documents(True, rng), self.documents(False, rng)
            return (next(kind) for kind in cycle(kinds))

        object.__setattr__(self, "source", alternate)


def _gold(task: Task) -> str:
    run = execute(task.data["program"], nursery_documents.arguments_of(task.data["input"]))
    assert run is not None, "a task of a held-out set runs"
    return f"<think>\n{run.trace}</think><answer>{run.output}</answer>"


def _long_or_short(longer: bool, rng: random.Random) -> Documents:
    size: Size = LONG if longer else SMALL
    for specimen in fresh(specimens(rng.random().hex(), size), excluded_forms()):
        if longer and statements(specimen.program) < 9:
            continue
        task = nursery_documents.run_task(DEDUCTION, specimen.program, rng.choice(specimen.runs))
        yield [(prompts.solve_prompt(nursery_documents.STYLE, task), 0.0), (_gold(task), 1.0)]


def _steps(longer: bool, rng: random.Random) -> Documents:
    lengths = (4, 5, 6, 7, 8) if longer else (1, 2, 3)
    return steps_documents.documents(steps_documents.Mix(lengths=lengths), rng, is_held_out)


LANGUAGES = {
    "nursery": Language(nursery_documents.STYLE, ("nursery-iid", "nursery-long"), "<think>\n", _gold, _long_or_short),
    "nursery-steps": Language(
        steps_documents.STYLE, tuple(STEPS_SETS.values()), "<think>", steps_documents.gold_attempt, _steps
    ),
}
