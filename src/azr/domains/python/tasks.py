"""Python tasks as data: the seed tasks, the held-out sets, and what `Task.data` contains.

deduction, abduction: program, input, output. error: program, input, error. induction: program, message, inputs,
outputs, shown (number of pairs that the solver sees). Values are canonical text (`azr.sandbox`); an input is the text
between the parentheses of a call.
"""

import ast
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from azr.domains.base import make_task
from azr.domains.python import syntax
from azr.errors import UserError
from azr.types import ERROR, INDUCTION, JSON, Kind, Task

NO_ERROR = "NoError"
"""The answer to an error task whose call raises nothing."""

IDENTITY = "def f(x):\n    return x"
IDENTITY_INPUT = "'Hello World'"
"""The paper's one seed triplet: the identity on "Hello World"."""


def program_task(kind: Kind, data: Mapping[str, JSON], parents: Sequence[Task] = (), depth: int = 0) -> Task:
    """Make a task of any kind of this domain.

    Exact duplicates have the same kind, the same inputs and the same program up to names. Near duplicates have the same
    program up to names and constants.

    Raises:
        azr.domains.answers.RejectedError: the program cannot be parsed here.
    """
    read = syntax.read(data["program"])
    inputs = sorted(data["inputs"]) if kind == INDUCTION else [data["input"]]
    fingerprint = "\0".join([read.normal, *inputs])
    return make_task(kind, data, fingerprint=fingerprint, shape=read.shape, parents=parents, depth=depth)


def identity_task(kind: Kind) -> Task:
    """The seed triplet as a task (not of induction, whose proposals take programs from the other buffers)."""
    answer = {"error": NO_ERROR} if kind == ERROR else {"output": IDENTITY_INPUT}
    return program_task(kind, {"program": IDENTITY, "input": IDENTITY_INPUT, **answer})


def tidy_arguments(text: str) -> str:
    """Normalise the arguments of a call: `[1,2],"a"` becomes `[1, 2], 'a'`.

    Only for text that the sandbox has accepted as arguments. It is parsed, not run.

    Raises:
        azr.domains.answers.RejectedError: they cannot be parsed here.
    """
    with syntax.reading():
        # Like the sandbox: with the line break, a comment at the end does not swallow the parenthesis.
        call = ast.parse(f"f({text}\n)", mode="eval").body
        return ast.unparse(call)[2:-1]


def held_out_sets() -> list[str]:
    """Names of the sets in the package."""
    folder = resources.files("azr.domains.python") / "data"
    return sorted(path.name.removesuffix(".jsonl") for path in folder.iterdir() if path.name.endswith(".jsonl"))


def load_held_out(source: str, kinds: Sequence[Kind], count: int) -> list[Task]:
    """The first `count` tasks of each kind, of each set; fewer if a set has fewer.

    `source` is the name of a set in the package, the path of a file of lines {"kind": ..., "data": {...}}, or several
    of them, separated by commas.

    Raises:
        UserError: there is no such set or file, or a line is not a task. Programs that are not used are not parsed.
    """
    if source in held_out_sets() or os.path.exists(source):  # also a path with a comma in it
        return _load_set(source, kinds, count)
    names = [name.strip() for name in source.split(",")]
    if not all(names):
        raise UserError(f"domain.held_out = {source}: a name is missing beside a comma")
    return [task for name in dict.fromkeys(names) for task in _load_set(name, kinds, count)]


def _load_set(source: str, kinds: Sequence[Kind], count: int) -> list[Task]:
    known = held_out_sets()
    path = resources.files("azr.domains.python") / "data" / f"{source}.jsonl" if source in known else Path(source)
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        chosen = [record for kind in kinds for record in [r for r in records if r["kind"] == kind][:count]]
        return [program_task(record["kind"], record["data"]) for record in chosen]
    except (OSError, ValueError, KeyError, TypeError, SyntaxError) as error:
        raise UserError(f"held-out set {source}: {error}; the sets that ship are {', '.join(known)}") from None
