"""Reasons from a program's output back to an input: what a model can learn to think in an abduction.

One line per step of the execution, the last step first. A line has a value that is known, the expression that it came
from with known numbers put in, and what the names in it must then have been:

    return -36: c * 3, c = -12
    c = -12: c + 3, c = -15
    c = -15: a - b, a = 2, b = 17

Where a step has many possible causes (`len(a)` of 3), the line shows one: what it was in the execution at hand.
"""

from __future__ import annotations

import ast
from typing import Any

from nursery.reduce import substitute
from nursery.trace import Execution, Step


def backward(run: Execution) -> tuple[str, ...]:
    """The lines that lead from the output of an execution to its input."""
    known: dict[str, Any] = {}
    lines = (_line(step, known) for step in reversed(run.steps))
    return tuple(line for line in lines if line)


def _line(step: Step, known: dict[str, Any]) -> str:
    """The line of one step, "" if nothing that is known came of it; `known` becomes what held before the step."""
    if step.head in ("return", "if", "while"):
        head = f"{step.head} {step.value!r}"
    elif step.head == "for":
        if set(step.reads) <= set(known):
            return ""
        head = "for"
    elif step.head in known:
        head = f"{step.head} = {known.pop(step.head)!r}"
    else:
        return ""
    form = ast.unparse(substitute(step.node, known))
    found = {name: value for name, value in step.reads.items() if name not in known}
    known |= found
    return f"{head}: " + ", ".join([form, *(f"{name} = {value!r}" for name, value in found.items())])
