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

A trace repeats the program, and after each line it gives the digits that a, b and c have then:

    def f(a, b, c): | 381
        a = min(a + 3, 9) | 681
        b = abs(b - a) | 621
        return [a, b, c] | 621

All its lines have the same number of tokens, so the digits before a statement are always at the same distance. Only the
statement itself has to be looked up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import permutations
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

_STEPS, _LIMITS = range(1, 6), range(2, 8)

STATEMENTS = tuple(
    dict.fromkeys(
        "    " + template.format(t=t, u=u, v=v, k=k, d=d)
        for _, template in _FORMS
        for t, u, v in permutations(NAMES)
        for k in _STEPS
        for d in _LIMITS
    )
)
"""All statements of the language, as they are indented."""

_KNOWN = frozenset(STATEMENTS)


def draw_statement(rng: random.Random) -> str:
    """One statement, without its indentation."""
    template = rng.choices([form for _, form in _FORMS], [weight for weight, _ in _FORMS])[0]
    t, u, v = rng.sample(NAMES, 3)
    return template.format(t=t, u=u, v=v, k=rng.choice(_STEPS), d=rng.choice(_LIMITS))


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
    lines = [f"{head} | {_shown(values)}"]
    for statement in statements:
        if statement not in _KNOWN:
            raise ValueError(f"not in the language: {statement!r}")
        target, _, expression = statement.strip().partition(" = ")
        values[target] = eval(_compiled(expression), {"__builtins__": _BUILTINS}, values)  # one of STATEMENTS
        lines.append(f"{statement} | {_shown(values)}")
    lines.append(f"{tail} | {_shown(values)}")
    return lines, (values["a"], values["b"], values["c"])


_BUILTINS = {"min": min, "max": max, "abs": abs}


@cache
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<statement>", "eval")


def _shown(values: dict[str, int]) -> str:
    return "".join(str(values[name]) for name in NAMES)
