"""What `nursery-steps` reads: attempts at deduction tasks, with the trace as the thought, and proposals.

Prompts come from the Python domain's own templates, so that self-play poses them in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from azr.domains.python import prompts
from azr.domains.python.building import Foundation
from azr.domains.python.config import PythonConfig
from azr.domains.python.syntax import joined
from azr.domains.python.tasks import identity_task
from azr.types import DEDUCTION, Task
from nursery.documents import Piece
from nursery.steps.language import STATEMENTS, State, draw_program, draw_state, draw_statement, execute

STYLE = PythonConfig(style="compact", kinds=(DEDUCTION,), line_numbers=True)
"""The prompts: compact, and the lines of a program to execute are numbered."""
PLAIN = PythonConfig(style="compact", kinds=(DEDUCTION,))
"""The same without numbers, for the comparison."""

IDENTITY_SHARE = 0.3
"""Share of the proposals with references that have the identity among them, from which self-play starts."""

Lengths = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """Which documents are drawn.

    Attributes:
        lengths: numbers of statements, one of which is drawn for each program; repeat one to weigh it.
        numbered: whether program and trace carry line numbers.
        latest_start: in calculations and look-ups the first line's number is drawn from 1 to this, so that the numbers
            of long programs are learned from short ones. In attempts it is 1, as in the prompts of self-play, but for
            a share of `shifted`. Without these, the number of the last line of the longest programs means the end.
        shifted: share of attempts whose lines are numbered from a random start. There is no loss on the first number,
            which self-play never has to find.
        shuffle: share of prompts that show the numbered lines of the program in random order. Without these, the model
            finds a statement by its distance and ignores its number, and fails on the first line of a longer program.
        drill: share of documents that are single calculations: the digits after one statement. They are many times as
            short as attempts, so that the arithmetic takes fewer tokens.
        lookup: share of documents in which lines are looked up by their numbers, without being executed: as many lines
            as a program of `listings` has, with any numbers, in any order.
        listings: numbers of statements in look-ups, drawn as `lengths` are.
        propose: share of documents that are proposals of a program and an input.
        extend: share of documents that are proposals of one more statement for a program, and an input.
        join: share of documents that are proposals of an input for two programs, one after the other.
        references: most references in the prompt of a proposal.
        sized: share of "propose" and "extend" whose prompts ask for the number of statements that are written. An
            extension then has as many as `lengths` say, not one.
    """

    lengths: Lengths = (1, 2, 3, 3)
    numbered: bool = True
    latest_start: int = 24
    shifted: float = 0.0
    shuffle: float = 0.0
    drill: float = 0.0
    lookup: float = 0.0
    listings: Lengths = (1, 2, 3, 3)
    propose: float = 0.0
    extend: float = 0.0
    join: float = 0.0
    references: int = 3
    sized: float = 0.0


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
    return f"{trace(lines, first)}</think><answer>{list(output)}</answer>"


def trace(lines: Sequence[str], first: int | None) -> str:
    """A trace from its opening tag. The number of a line stands at the end of the line before it, as in the program.

    Args:
        lines: without numbers.
        first: number of the first line; None for a trace without numbers.
    """
    if first is None:
        return "\n".join(("<think>", *lines))
    *before, last = "<think>", *lines
    return "".join(f"{line}  # {number}\n" for number, line in enumerate(before, first)) + last


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

    families = {
        "drill": mix.drill,
        "lookup": mix.lookup,
        "propose": mix.propose,
        "extend": mix.extend,
        "join": mix.join,
    }
    families["attempt"] = 1 - sum(families.values())
    while True:
        (family,) = rng.choices(list(families), list(families.values()))
        if family == "drill":
            yield calculation(mix, rng)
        elif family == "lookup":
            yield lookups(mix, rng)
        elif family == "attempt":
            yield attempt(program(), draw_state(rng), mix, rng)
        else:
            yield proposal(family, program, mix, rng)


def proposal(family: str, program: Callable[[], str], mix: Mix, rng: random.Random) -> list[Piece]:
    """A proposal: "propose" invents a program, "extend" adds a statement to one, "join" has two and adds nothing."""
    references: list[Task] = []
    invented, size = program(), None
    foundation, written = None, f"<program>\n{invented}\n</program>"
    sized = mix.sized > 0 and family != "join" and rng.random() < mix.sized
    if family == "propose":
        size = invented.count("\n") - 1 if sized else None
        references = [deduction_task(program(), draw_state(rng)) for _ in range(rng.randint(0, mix.references))]
        if references and rng.random() < IDENTITY_SHARE:
            references[rng.randrange(len(references))] = identity_task(DEDUCTION)
    elif family == "extend":
        size = rng.choice(mix.lengths) if sized else None
        lines = "".join(f"    {draw_statement(rng)}\n" for _ in range(size or 1))
        foundation, written = Foundation("extended", program(), ()), f"<program>\n{lines}</program>"
    else:
        whole = joined(program(), program())
        assert whole is not None, "all programs of the language can be joined"
        foundation, written = Foundation("joined", whole, ()), ""
    prompt = prompts.propose_prompt(STYLE, DEDUCTION, references, foundation, size)
    values = ", ".join(map(str, draw_state(rng)))
    return [(prompt, 0.0), (f"<answer>{written}<input>{values}</input></answer>", 1.0)]


def calculation(mix: Mix, rng: random.Random) -> list[Piece]:
    """Two lines of a trace: a state, and a statement with the state after it, on which alone there is a loss."""
    lines, _ = execute(draw_program(1, rng), draw_state(rng))
    known, _, digits = trace(lines[:2], rng.randint(1, mix.latest_start) if mix.numbered else None).rpartition(" | ")
    return [(f"{known} | ", 0.0), (digits, 1.0)]


def lookups(mix: Mix, rng: random.Random) -> list[Piece]:
    """Numbered statements, and lines of a trace about them with any digits. Nothing is executed.

    In half of the documents the lines are in any order, and there is a loss on the statements. In the other half they
    are in a row that begins and ends anywhere, and there is a loss on the numbers too. So the length of the program
    never tells the next number.
    """
    count = rng.choice(mix.listings) + 2
    lines = rng.sample(STATEMENTS, count)
    in_a_row = rng.random() < 0.5
    if in_a_row:
        begin = rng.randint(1, mix.latest_start)
        numbers = list(range(begin, begin + count))
    else:
        numbers = rng.sample(range(1, mix.latest_start + 1), count)
    pairs = list(zip(numbers, lines, strict=True))
    shown = "".join(f"{line}  # {number}\n" for number, line in pairs)
    if in_a_row:
        first = rng.randrange(count)
        asked = pairs[first : rng.randint(first + 1, count)]
    else:
        asked = rng.sample(pairs, count)
    pieces: list[Piece] = [(f"<program>\n{shown}</program>\n<think>", 0.0)]
    for place, (number, line) in enumerate(asked):
        digits = "".join(map(str, draw_state(rng)))
        counted = float(in_a_row and place > 0)
        pieces += [(f"  # {number}\n", counted), (line, 1.0), (f" | {digits}", 0.0)]
    return pieces


def attempt(program: str, state: State, mix: Mix, rng: random.Random) -> list[Piece]:
    """An attempt at a deduction task, as self-play poses it, or with its lines in another order."""
    task = deduction_task(program, state)
    if not mix.numbered:
        return [(prompts.solve_prompt(PLAIN, task), 0.0), (thought(program, state, first=None), 1.0)]
    first = rng.randint(1, mix.latest_start) if rng.random() < mix.shifted else 1
    shuffled = rng if rng.random() < mix.shuffle else None
    opening, number, rest = thought(program, state, first=first).partition(f"  # {first}\n")
    begun = float(first == 1)
    return [(_prompt(task, first, shuffled), 0.0), (opening + number, begun), (rest, 1.0)]


def _prompt(task: Task, first: int, shuffled: random.Random | None) -> str:
    lines = prompts.with_line_numbers(task.data["program"], first).split("\n")
    if shuffled is not None:
        shuffled.shuffle(lines)
    data = {**task.data, "program": "\n".join(lines)}
    return prompts.solve_prompt(PLAIN, Task(id="", kind=DEDUCTION, data=data, fingerprint="", shape=""))
