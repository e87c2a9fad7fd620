"""The language of `nursery-steps`: straight-line programs on three digits, and their traces.

    def f(a, b, c):
        a = min(a + 3, 9)
        b = abs(b - a)
        return [a, b, c]

Every variable is a digit before and after every statement. So a program can have any length, any two programs can be
joined into a third, and one more statement is one more step of the same difficulty. All three variables are returned,
so almost every statement matters to the answer.

Sums stop at 9 and differences at 0. Sums and differences modulo 10 or 5 would keep the variables apart better, but a
model of this size did not learn them in half a million tokens (docs/experiments.md).

A trace has one line per line of the program. It starts with the number of that line (where lines are numbered), goes on
with the expression and its value, and ends with the digits that a, b and c now have:

    1 381
    2 a = min(3 + 3, 9) = 6 | 681
    3 b = abs(8 - 6) = 2 | 621
    4 return [6, 2, 1]
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType

NAMES = ("a", "b", "c")
HEAD = "def f(a, b, c):"
TAIL = "    return [a, b, c]"

State = tuple[int, int, int]

_FORMS = (
    (3, "{t} = min({t} + {k}, 9)"),
    (3, "{t} = max({t} - {k}, 0)"),
    (2, "{t} = min({t} + {u}, 9)"),
    (3, "{t} = abs({t} - {u})"),
    (1, "{t} = abs({u} - {v})"),
    (2, "{t} = 9 - {t}"),
    (2, "{t} = {u} if {v} > {d} else {t}"),
)
"""Weights and templates: t, u and v are three different variables, k is 1..5, d is 2..7."""

_NAME = re.compile(r"\b[abc]\b")


def draw_statement(rng: random.Random) -> str:
    """One statement, without its indentation."""
    template = rng.choices([form for _, form in _FORMS], [weight for weight, _ in _FORMS])[0]
    t, u, v = rng.sample(NAMES, 3)
    return template.format(t=t, u=u, v=v, k=rng.randint(1, 5), d=rng.randint(2, 7))


def draw_program(statements: int, rng: random.Random) -> str:
    """A program with this many statements before its return."""
    return join_lines([draw_statement(rng) for _ in range(statements)])


def join_lines(statements: Sequence[str]) -> str:
    """The program with these statements."""
    return "\n".join((HEAD, *(f"    {statement}" for statement in statements), TAIL))


def draw_state(rng: random.Random) -> State:
    """Digits for a, b and c."""
    return rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 9)


def execute(program: str, state: State) -> tuple[list[str], State]:
    """The lines of the trace, without line numbers, and the digits that are returned.

    Raises:
        ValueError: a line is not in the language.
    """
    head, *statements, tail = program.split("\n")
    if head != HEAD or tail != TAIL:
        raise ValueError(f"not in the language: {program!r}")
    values = dict(zip(NAMES, state, strict=True))
    lines = [_shown(values)]
    for statement in statements:
        target, expression = _parts(statement)
        value = eval(_compiled(expression), {"__builtins__": _BUILTINS}, values)  # matched by _STATEMENT
        filled = _NAME.sub(lambda name: str(values[name[0]]), expression)  # called at once
        values[target] = value
        lines.append(f"{target} = {filled} = {value} | {_shown(values)}")
    lines.append(f"return {[values[name] for name in NAMES]}")
    return lines, (values["a"], values["b"], values["c"])


_BUILTINS = {"min": min, "max": max, "abs": abs}
_STATEMENT = re.compile(
    r"    ([abc]) = (min\([abc] \+ [abc\d], 9\)|max\([abc] - \d, 0\)|abs\([abc] - [abc]\)|9 - [abc]"
    r"|[abc] if [abc] > \d else [abc])"
)


def _parts(statement: str) -> tuple[str, str]:
    found = _STATEMENT.fullmatch(statement)
    if found is None:
        raise ValueError(f"not in the language: {statement!r}")
    return found[1], found[2]


@lru_cache(maxsize=8192)
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<statement>", "eval")


def _shown(values: dict[str, int]) -> str:
    return "".join(str(values[name]) for name in NAMES)
