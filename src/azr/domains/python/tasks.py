"""Python tasks as data: what `Task.data` holds for each kind, and the tasks that every run starts from.

deduction, abduction: program, input, output. error: program, input, error. induction: program, message, inputs,
outputs, shown (how many pairs the solver sees). Values are canonical text (`azr.sandbox`), inputs are the text between
the parentheses of a call.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from azr.domains.base import make_task
from azr.domains.python import syntax
from azr.types import ERROR, INDUCTION, JSON, Kind, Task

NO_ERROR = "NoError"
"""The answer to an error task whose call returns."""

IDENTITY = "def f(x):\n    return x"
IDENTITY_INPUT = "'Hello World'"
"""The paper's one seed triplet: the identity on "Hello World"."""


def program_task(kind: Kind, data: Mapping[str, JSON], parents: Sequence[Task] = ()) -> Task:
    """Make a task of any kind of this domain.

    Exact duplicates are equal in kind, in program but for names, and in inputs; near duplicates in program but for
    names and constants.

    Raises:
        azr.domains.python.syntax.UnreadableError: the program cannot be read here.
    """
    read = syntax.read(data["program"])
    inputs = sorted(data["inputs"]) if kind == INDUCTION else [data["input"]]
    fingerprint = "\0".join([read.normal, *inputs])
    return make_task(kind, data, fingerprint=fingerprint, shape=read.shape, parents=parents)


def identity_task(kind: Kind) -> Task:
    """The seed triplet as a task of a kind (not of induction, whose tasks come out of the other buffers)."""
    answer = {"error": NO_ERROR} if kind == ERROR else {"output": IDENTITY_INPUT}
    return program_task(kind, {"program": IDENTITY, "input": IDENTITY_INPUT, **answer})


def tidy_arguments(text: str) -> str:
    """Arguments of a call in one spelling: `[1,2],"a"` becomes `[1, 2], 'a'`.

    Only for text that the sandbox has accepted as arguments, so that nothing is run and nothing can hurt here.

    Raises:
        azr.domains.python.syntax.UnreadableError: they cannot be read here.
    """
    with syntax.reading():
        # As the sandbox reads it: the line break keeps a comment at the end from swallowing the parenthesis.
        call = ast.parse(f"f({text}\n)", mode="eval").body
        return ast.unparse(call)[2:-1]
