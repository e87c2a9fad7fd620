"""What the base model reads: documents in the Python domain's own formats, answers computed by running programs.

A document is a prompt, exactly as self-play will pose it (style `compact`), and an answer. Three families: traces,
which execute a program forwards or reason backwards from its output (a task of their own, posed as `<trace>`), and for
each kind proposals and solutions. Of the solutions only a small share think: the model can, but is not inclined to.

How a solution thinks:
- deduction: the trace of the program on its input;
- abduction: from the output back to an input, step by step (`backward.py`);
- induction: write down a program, trace it on a shown pair, compare, try again.

Wrong tries carry no loss (the model is to notice and mend them, not to make them); there are at most `TRIES` tries.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from azr.domains.python import prompts
from azr.domains.python.config import PythonConfig
from azr.domains.python.syntax import read, similarity
from azr.types import ABDUCTION, DEDUCTION, INDUCTION, JSON, Kind, Task
from nursery.backward import backward
from nursery.grammar import Specimen
from nursery.hints import hint
from nursery.mutate import altered_program
from nursery.trace import Execution, execute

STYLE = PythonConfig(style="compact", induction_inputs=6, induction_shown=3)
"""The nursery's prompts: six inputs an induction task, three of them shown."""

TRIES = 2
"""Programs that an induction's thought tries at most. Then it answers, or a model that never hits would never end."""

Family = Literal["trace", "solve", "propose"]
Piece: TypeAlias = tuple[str, float]
"""A piece of an answer and the weight of the loss on it."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many documents of which family.

    Attributes:
        trace: documents a program that only execute it (the expected number, as all of these).
        backward: documents a program that only reason back from an output.
        deduction: attempts at a deduction task.
        abduction: attempts at an abduction task.
        induction: attempts at an induction task.
        propose: of each kind, proposals.
        think: share of the attempts that think.
        references: weights of 0, 1, 2, ... references in a proposal's prompt.
        prompt_weight: weight of the loss on prompts; on answers it is 1.
        first_try: share of the thinking attempts whose first try is right.
        give_up: share of the thinking attempts that fail as often as is allowed and then answer all the same.
        back_lines: longest thought of an abduction, in lines; beyond it, the attempt does not think.
        try_lines: longest traces of one try of an induction, in lines; beyond it, the attempt does not think.
    """

    trace: float = 2.0
    backward: float = 1.0
    deduction: float = 0.7
    abduction: float = 0.7
    induction: float = 0.7
    propose: float = 0.25
    think: float = 0.25
    references: tuple[float, ...] = (1, 1, 1, 1)
    prompt_weight: float = 0.1
    first_try: float = 0.5
    give_up: float = 0.0
    back_lines: int = 12
    try_lines: int = 8


@dataclass(frozen=True, slots=True)
class Document:
    """A prompt, an answer, and what the loss weighs.

    Attributes:
        family: what it teaches.
        kind: kind of reasoning; for traces, deduction.
        task: the task it poses; for a proposal, the one it proposes.
        prompt: as self-play poses it.
        answer: pieces of the answer with the weight of the loss on each.
        thinks: whether the answer thinks first.
    """

    family: Family
    kind: Kind
    task: Task
    prompt: str
    answer: tuple[Piece, ...]
    thinks: bool

    @property
    def text(self) -> str:
        """The answer as one text."""
        return "".join(piece for piece, _ in self.answer)


def documents(pool: Sequence[Specimen], mix: Mix, rng: random.Random) -> Iterator[Document]:
    """Documents about a pool of programs, each of which has at least six runs; references come from the pool too."""
    for specimen in pool:
        for _ in range(_count(mix.trace, rng)):
            yield _trace_document(specimen, rng)
        for _ in range(_count(mix.backward, rng)):
            yield _backward_document(specimen, rng)
        for kind, solve in _SOLVE.items():
            for _ in range(_count(getattr(mix, kind), rng)):
                yield solve(specimen, mix, rng)
            for _ in range(_count(mix.propose, rng)):
                yield _proposal(kind, specimen, pool, mix, rng)


def run_task(kind: Kind, program: str, run: Execution) -> Task:
    """A deduction or abduction task; ids and fingerprints are of no use in a document."""
    return _task(kind, {"program": program, "input": run.input, "output": run.output})


def induction_task(program: str, runs: Sequence[Execution], message: str) -> Task:
    """An induction task on the first six of a program's runs."""
    chosen = runs[: STYLE.induction_inputs]
    data = {"program": program, "message": message, "shown": STYLE.induction_shown}
    return _task(INDUCTION, data | {"inputs": [r.input for r in chosen], "outputs": [r.output for r in chosen]})


def _task(kind: Kind, data: dict[str, JSON]) -> Task:
    return Task(id="", kind=kind, data=data, fingerprint="", shape="")


def _count(expected: float, rng: random.Random) -> int:
    whole = int(expected)
    return whole + (rng.random() < expected - whole)


def _trace_document(specimen: Specimen, rng: random.Random) -> Document:
    run = rng.choice(specimen.runs)
    return _traced(run_task(DEDUCTION, specimen.program, run), _thought(run.lines) + _answer(run.output))


def _backward_document(specimen: Specimen, rng: random.Random) -> Document:
    run = min(rng.sample(specimen.runs, 2), key=lambda run: len(run.steps))  # the shorter way back of two
    return _traced(run_task(ABDUCTION, specimen.program, run), _thought(backward(run)) + _answer(run.input))


def _traced(task: Task, answer: str) -> Document:
    prompt = prompts.solve_prompt(STYLE, task).replace(f"<{task.kind}>", "<trace>", 1)
    return Document("trace", task.kind, task, prompt, ((answer, 1.0),), True)


def _deduction(specimen: Specimen, mix: Mix, rng: random.Random) -> Document:
    run = rng.choice(specimen.runs)
    thinks = rng.random() < mix.think
    task = run_task(DEDUCTION, specimen.program, run)
    answer = (_thought(run.lines) if thinks else "") + _answer(run.output)
    return Document("solve", DEDUCTION, task, prompts.solve_prompt(STYLE, task), ((answer, 1.0),), thinks)


def _abduction(specimen: Specimen, mix: Mix, rng: random.Random) -> Document:
    run = rng.choice(specimen.runs)
    lines = backward(run)
    thinks = rng.random() < mix.think and len(lines) <= mix.back_lines
    task = run_task(ABDUCTION, specimen.program, run)
    answer = (_thought(lines) if thinks else "") + _answer(run.input)
    return Document("solve", ABDUCTION, task, prompts.solve_prompt(STYLE, task), ((answer, 1.0),), thinks)


def _induction(specimen: Specimen, mix: Mix, rng: random.Random) -> Document:
    task = induction_task(specimen.program, rng.sample(specimen.runs, len(specimen.runs)), _message(specimen, rng))
    checks = _shown(specimen, task)[:2]
    thinks = rng.random() < mix.think and sum(len(run.lines) for run in checks) <= mix.try_lines
    pieces: list[Piece] = []
    if thinks:
        count = _failures(mix, rng)
        wrong = [_wrong_program(specimen.program, checks, mix.try_lines, rng) for _ in range(count)]
        pieces += [piece for tried in wrong for piece in tried]
        if sum(map(bool, wrong)) < TRIES:
            checked = "".join(f"f({run.input})\n{_check(run, run.output)}" for run in checks)
            pieces += [(f"{_tagged(specimen.program)}\n{checked}", 1.0)]
    answer = _attempt(pieces, _answer(_tagged(specimen.program)))
    return Document("solve", INDUCTION, task, prompts.solve_prompt(STYLE, task), answer, thinks)


def _wrong_program(program: str, checks: Sequence[Execution], lines: int, rng: random.Random) -> list[Piece]:
    """A program near the right one, with its checks up to the first that fails; nothing if none is found."""
    for _ in range(4):
        other = altered_program(program, rng)
        pieces: list[Piece] = [(f"{_tagged(other)}\n", 0.0)]
        for run in checks:
            tried = execute(other, arguments_of(run.input), lines=lines)
            if tried is None:
                break
            pieces += [(f"f({tried.input})\n{_check(tried, run.output)}", 1.0)]
            if tried.output != run.output:
                return pieces
    return []


def _failures(mix: Mix, rng: random.Random) -> int:
    """How many tries fail: none, fewer than are allowed, or all of them."""
    share = rng.random()
    if share < mix.first_try:
        return 0
    return TRIES if share < mix.first_try + mix.give_up else rng.randint(1, TRIES - 1)


def _attempt(tries: list[Piece], answer: str) -> tuple[Piece, ...]:
    """An answer, after a thought that tries where there are tries."""
    return (("<think>\n", 1.0), *tries, ("</think>" + answer, 1.0)) if tries else ((answer, 1.0),)


def _proposal(kind: Kind, specimen: Specimen, pool: Sequence[Specimen], mix: Mix, rng: random.Random) -> Document:
    if kind == INDUCTION:
        task = induction_task(specimen.program, rng.sample(specimen.runs, len(specimen.runs)), _message(specimen, rng))
        prompt = prompts.propose_prompt(STYLE, kind, [task])
        inputs = "".join(f"<input>{text}</input>" for text in task.data["inputs"])
        answer = _answer(f"{inputs}<message>{task.data['message']}</message>")
        return Document("propose", kind, task, prompt, ((answer, 1.0),), False)
    count = rng.choices(range(len(mix.references)), mix.references)[0]
    references = [run_task(kind, other.program, rng.choice(other.runs)) for other in rng.sample(pool, count)]
    if references:  # what is proposed differs from the references more than chance would have it
        specimen = min((specimen, *rng.sample(pool, 2)), key=lambda other: _likeness(other, references))
    task = run_task(kind, specimen.program, rng.choice(specimen.runs))
    answer = _answer(f"{_tagged(specimen.program)}<input>{task.data['input']}</input>")
    return Document("propose", kind, task, prompts.propose_prompt(STYLE, kind, references), ((answer, 1.0),), False)


def _likeness(specimen: Specimen, references: Sequence[Task]) -> float:
    grams = read(specimen.program).grams
    return max(similarity(grams, read(reference.data["program"]).grams) for reference in references)


def _shown(specimen: Specimen, task: Task) -> list[Execution]:
    runs = {run.input: run for run in specimen.runs}
    return [runs[text] for text, _ in prompts.shown_pairs(task)]


def _message(specimen: Specimen, rng: random.Random) -> str:
    """The hint of an induction task; now and then with words left out, so that no message can be relied on."""
    words = hint(specimen.program)
    if rng.random() < 0.3:
        words = [word for word in words if rng.random() < 0.7] or words[:1]
    return " ".join(words)


def _check(run: Execution, wanted: str) -> str:
    return f"{run.trace}\n{run.output} == {wanted} = {run.output == wanted}\n"


def _thought(lines: Sequence[str]) -> str:
    return "\n".join(("<think>", *lines, "</think>"))


def _answer(text: str) -> str:
    return f"<answer>{text}</answer>"


def _tagged(program: str) -> str:
    return f"<program>\n{program}\n</program>"


def arguments_of(text: str) -> tuple[Any, ...]:
    """The values of an input's text."""
    return tuple(ast.literal_eval(f"({text},)"))


_SOLVE = {DEDUCTION: _deduction, ABDUCTION: _abduction, INDUCTION: _induction}
