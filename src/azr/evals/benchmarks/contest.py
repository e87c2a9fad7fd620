"""Problems of APPS and LiveCodeBench: inputs and outputs, by standard input or by function."""

import json
from collections.abc import Sequence
from typing import Any

from azr.evals.judges import CaseTests, Prints
from azr.evals.problems import Form, Judge, Problem

_MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator".split()
)
# builtins comes last again: math and operator have a `pow` of their own.
IMPORTS = "\n".join(
    [f"import {', '.join(_MODULES)}, sys", *(f"from {name} import *" for name in (*_MODULES, "typing", "builtins"))]
)
"""Imports that contest sites put before a solution, so that published solutions lack them."""


def problem(
    *,
    name: str,
    question: str,
    starter: str,
    function: str | None,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    gold: str,
    group: str,
) -> Problem:
    """Make a problem; `starter` is code that the solution begins with, or nothing, and `group` the difficulty.

    `function` is the function to call, or the method of `Solution`; inputs are lists of its arguments, and outputs the
    values expected. With None, inputs are texts for standard input, and outputs what should be printed.
    """
    begin = f"\n\nThe program has this form:\n\n{starter}" if starter else ""
    judge: Judge
    if function is None:
        form, how = Form.SCRIPT, "Read standard input and print the answer."
        judge = Prints(list(map(as_text, inputs)), list(map(as_text, outputs)), IMPORTS)
    else:
        form, how = Form.PROGRAM, f"Write the function `{function}`."
        target = f"(Solution().{function} if 'Solution' in globals() else {function})"
        calls = [f"{target}({', '.join(map(repr, arguments))})" for arguments in inputs]
        judge = CaseTests(function, list(zip(calls, map(json.dumps, outputs), strict=True)), IMPORTS)
    return Problem(
        id=name,
        form=form,
        stem=f'"""\n{question}\n\n{how}{begin}\n"""\n',
        request=f"{question}\n\n{how}{begin}",
        gold=gold,
        judge=judge,
        entry=function or "",
        key=as_text(outputs[0]) if outputs else "",
        group=group,
    )


def as_text(value: Any) -> str:
    """Standard input or output as text; some problems give a list of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
