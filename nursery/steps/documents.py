"""What `nursery-steps` reads: attempts at deduction tasks, with the trace as the thought, and proposals.

Prompts come from the Python domain's own templates, so that self-play poses them in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from azr.domains.python import prompts
from azr.domains.python.config import PythonConfig
from azr.types import DEDUCTION, Task
from nursery.documents import Piece
from nursery.steps.language import State, draw_program, draw_state, execute

STYLE = PythonConfig(style="compact", kinds=(DEDUCTION,), line_numbers=True)
"""The prompts: compact, and the lines of a program to execute are numbered."""
PLAIN = PythonConfig(style="compact", kinds=(DEDUCTION,))
"""The same without numbers, for the comparison."""

Lengths = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """Which documents are drawn.

    Attributes:
        lengths: numbers of statements, one of which is drawn for each program; repeat one to weigh it.
        numbered: whether program and trace carry line numbers.
        latest_start: the first line's number is drawn from 1 to this, so that all numbers up to those of long programs
            are learned from short ones. In the prompts of self-play it is always 1.
        shuffle: share of prompts that show the numbered lines of the program in random order. Without these, the model
            finds a statement by its distance and ignores its number, and fails on the first line of a longer program.
        drill: share of documents that are single calculations, one after another, with a loss on their values only.
            Without them the model learns to write a trace within half a million tokens, and no arithmetic.
        propose: share of documents that are proposals.
        references: most references in the prompt of a proposal.
    """

    lengths: Lengths = (1, 2, 3, 3)
    numbered: bool = True
    latest_start: int = 24
    shuffle: float = 0.0
    drill: float = 0.0
    propose: float = 0.0
    references: int = 3


def deduction_task(program: str, state: State) -> Task:
    """A deduction task; its id and fingerprint are left empty, as a document has no use for them."""
    output = str(list(execute(program, state)[1]))
    data = {"program": program, "input": ", ".join(map(str, state)), "output": output}
    return Task(id="", kind=DEDUCTION, data=data, fingerprint="", shape="")


def thought(program: str, state: State, *, first: int | None = 1) -> str:
    """The whole attempt: the trace between think tags, then the answer.

    Args:
        program: in the language.
        state: its input.
        first: number of the program's first line; None for a trace without numbers.
    """
    lines, output = execute(program, state)
    if first is not None:
        lines = [f"{number} {line}" for number, line in enumerate(lines, first)]
    return "\n".join(("<think>", *lines)) + f"</think><answer>{list(output)}</answer>"


def gold_attempt(task: Task, *, numbered: bool = True) -> str:
    """The attempt that the interpreter would make at a deduction task."""
    a, b, c = (int(part) for part in task.data["input"].split(","))
    return thought(task.data["program"], (a, b, c), first=1 if numbered else None)


def documents(
    mix: Mix, rng: random.Random, known: Callable[[str], bool] = lambda program: False
) -> Iterator[list[Piece]]:
    """Documents without end: pieces of text with their weights in the loss.

    Args:
        mix: which.
        rng: source of randomness.
        known: whether a program is held out; another is drawn then.
    """

    def program() -> str:
        while known(drawn := draw_program(rng.choice(mix.lengths), rng)):
            pass
        return drawn

    while True:
        family = rng.random()
        if family < mix.drill:
            yield calculations(rng)
        elif family < mix.drill + mix.propose:
            references = [deduction_task(program(), draw_state(rng)) for _ in range(rng.randint(0, mix.references))]
            task = deduction_task(program(), draw_state(rng))
            answer = f"<program>\n{task.data['program']}\n</program><input>{task.data['input']}</input>"
            prompt = prompts.propose_prompt(STYLE, DEDUCTION, references)
            yield [(prompt, 0.0), (f"<answer>{answer}</answer>", 1.0)]
        else:
            yield attempt(program(), draw_state(rng), mix, rng)


def calculations(rng: random.Random, count: int = 1) -> list[Piece]:
    """Single calculations as a trace writes them."""
    pieces: list[Piece] = [("<think>", 0.0)]
    for _ in range(count):
        (_, line, _), _ = execute(draw_program(1, rng), draw_state(rng))
        question, _, value = line.partition(" | ")[0].rpartition(" = ")
        pieces += [(f"\n{question} = ", 0.0), (value, 1.0)]
    return pieces


def attempt(program: str, state: State, mix: Mix, rng: random.Random) -> list[Piece]:
    """An attempt at a deduction task, its lines numbered from a random start."""
    task = deduction_task(program, state)
    if not mix.numbered:
        return [(prompts.solve_prompt(PLAIN, task), 0.0), (thought(program, state, first=None), 1.0)]
    first = rng.randint(1, mix.latest_start)
    shuffled = rng if rng.random() < mix.shuffle else None
    return [(_prompt(task, first, shuffled), 0.0), (thought(program, state, first=first), 1.0)]


def _prompt(task: Task, first: int, shuffled: random.Random | None) -> str:
    lines = prompts.with_line_numbers(task.data["program"], first).split("\n")
    if shuffled is not None:
        shuffled.shuffle(lines)
    data = {**task.data, "program": "\n".join(lines)}
    return prompts.solve_prompt(PLAIN, Task(id="", kind=DEDUCTION, data=data, fingerprint="", shape=""))
