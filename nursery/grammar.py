"""Random small programs: templates of `language.py` filled in, then kept only if they behave.

A program is kept if it runs on (nearly) all of its sampled inputs within the limits of `trace.py`, uses every variable
that it binds, and is neither constant nor the identity on most of them. The same seed gives the same programs.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nursery.language import DECLARATIONS, EXPRESSIONS, HELPER_CALLS, HELPERS, TYPES, UPDATES, Table
from nursery.trace import Execution, execute

_HOLE = re.compile(r"\{([a-zA-Z]+)(\d?)\}")
_LOCALS = "cdehkmn"
_LETTERS = "abcdeklmnoprstuw"
_PROBES = 10
_TWO_DIGITS = 0.12
"""Share of a program's constants that are above nine."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large programs get.

    Attributes:
        statements: weights of 0, 1, 2, ... top-level statements before the final return.
        depth: nesting of blocks at most.
        helper: share of programs with a helper function `g`.
        lines: longest trace, in lines.
    """

    statements: tuple[float, ...] = (8, 32, 32, 20, 8)
    depth: int = 2
    helper: float = 0.12
    lines: int = 24


SMALL = Size()
"""What the base model is trained on."""
LONG = Size(statements=(0, 0, 0, 0, 0, 0, 1, 1, 1), lines=48)
"""Longer than any program it was trained on."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A program that behaves, and its executions on distinct inputs, in the order in which they were drawn."""

    program: str
    runs: tuple[Execution, ...]


class _UnfitError(Exception):
    """A template asks for a variable that is not there."""


def specimens(seed: int | str, size: Size = SMALL, *, runs: int = 7) -> Iterator[Specimen]:
    """Draw programs that behave, without end.

    Args:
        seed: the same seed gives the same programs.
        size: how large they get.
        runs: executions that each must have.
    """
    rng = random.Random(seed)
    while True:
        types = [rng.choices(TYPES, (11, 8, 5))[0] for _ in range(rng.choice((1, 1, 2)))]
        try:
            program = _Writer(rng, types, size).program()
        except _UnfitError:
            continue
        if not _uses_all(program):
            continue
        found = _runs(program, types, size, rng, runs)
        if found is not None:
            yield Specimen(program, found)


def random_value(kind: str, rng: random.Random) -> int | list[int] | str:
    """A value of a type ("int", "list" or "str"), as inputs have it: small."""
    if kind == "int":
        return _random_int(rng)
    if kind == "list":
        return [_random_int(rng) for _ in range(rng.choice((2, 3, 3, 4, 4, 5)))]
    return "".join(rng.choice(_LETTERS) for _ in range(rng.choice((2, 3, 3, 4, 4, 5))))


def _random_int(rng: random.Random) -> int:
    low, high = rng.choices(((0, 9), (10, 20), (-9, -1), (21, 60)), (65, 18, 12, 5))[0]
    return rng.randint(low, high)


def _runs(program: str, types: list[str], size: Size, rng: random.Random, wanted: int) -> tuple[Execution, ...] | None:
    """Executions on distinct inputs; None for a program that misbehaves on more than one probe, or does nothing."""
    found: dict[str, Execution] = {}
    faults = 0
    for _ in range(wanted + _PROBES):
        execution = execute(program, [random_value(kind, rng) for kind in types], lines=size.lines)
        if execution is None:
            faults += 1
            if faults > 1:
                return None
        else:
            found.setdefault(execution.input, execution)
        if len(found) == wanted:
            break
    runs = tuple(found.values())
    outputs = [run.output for run in runs]
    idle = sum(run.output in (run.input, run.input.split(", ")[0]) for run in runs)
    varied = len(set(outputs)) >= (2 if outputs[0] in ("True", "False") else min(4, wanted))
    common = max(outputs.count(output) for output in outputs)
    return runs if len(runs) == wanted and varied and 2 * idle <= wanted and 4 * common <= 3 * wanted else None


def _uses_all(program: str) -> bool:
    """Whether every name that the program binds is read somewhere."""
    bound: set[str] = set()
    read: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef) and node.name != "f":
            bound.add(node.name)
        elif isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    return bound - read <= {"i"}


class _Writer:
    """Fills templates for one program; `scope` maps its variables to their types."""

    def __init__(self, rng: random.Random, types: list[str], size: Size) -> None:
        self._rng = rng
        self._types = types
        self._size = size
        self._helper = rng.random() < size.helper
        self._result = rng.choices(("int", "list", "str", "bool"), (11, 8, 5, 1))[0]
        self._scope: dict[str, str] = {}
        self._unread: set[str] = set()

    def program(self) -> str:
        """The text of a program.

        Raises:
            _UnfitError: the draw came to a dead end.
        """
        helper = self._helper_text() if self._helper else ""
        names = ["a", "b"][: len(self._types)]
        self._scope = dict(zip(names, self._types, strict=True))
        self._unread = set(names)
        lines = []
        weights = self._size.statements
        for _ in range(self._rng.choices(range(len(weights)), weights)[0]):
            table = DECLARATIONS if self._rng.random() < 0.6 and len(self._scope) < len(_LOCALS) else UPDATES
            lines.append(_indent(self._statement(table, self._rng.randint(1, self._size.depth))))
        final = next((name for name in self._unread if self._scope[name] == self._result), None)
        value = final if final and len(self._unread) == 1 else self._expression(self._result)
        return f"{helper}def f({', '.join(names)}):\n" + "\n".join([*lines, f"    return {value}"])

    def _helper_text(self) -> str:
        self._helper, self._scope = False, {"x": "int"}
        text = self._fill(self._draw(HELPERS), 0)
        self._helper = True
        return text + "\n"

    def _statement(self, table: Table, depth: int) -> str:
        for _ in range(8):
            template = self._draw(table)
            if depth == 0 and "\n" in template:
                continue
            scope, unread = dict(self._scope), set(self._unread)
            try:
                return self._fill(template, depth)
            except _UnfitError:
                self._scope, self._unread = scope, unread
        raise _UnfitError

    def _expression(self, kind: str) -> str:
        table = EXPRESSIONS[kind] + (HELPER_CALLS.get(kind, ()) if self._helper else ())
        for _ in range(12):
            unread = set(self._unread)
            try:
                return self._fill(self._draw(table), 0)
            except _UnfitError:
                self._unread = unread
        raise _UnfitError

    def _draw(self, table: Table) -> str:
        return self._rng.choices([row[1] for row in table], [row[0] for row in table])[0]

    def _fill(self, template: str, depth: int) -> str:
        same: dict[str, str] = {}
        new: dict[str, str] = {}
        taken: set[str] = set()

        def fill(match: re.Match[str]) -> str:
            hole, digit = match.groups()
            if digit and hole + digit in same:
                return same[hole + digit]
            text = self._hole(hole, depth, new, taken)
            if digit:
                same[hole + digit] = text
            return text

        text = _HOLE.sub(fill, template)
        self._scope |= new
        self._unread |= set(new)
        return text

    def _hole(self, hole: str, depth: int, new: dict[str, str], taken: set[str]) -> str:
        rng = self._rng
        if hole in TYPES:
            return self._variable(hole, taken)
        if hole.startswith("new"):
            name = next(letter for letter in _LOCALS if letter not in self._scope)
            new[name] = hole.removeprefix("new")
            return name
        if hole == "BLOCK":
            return _indent(self._statement(UPDATES, depth - 1))
        if hole == "RESULT":
            return self._expression(self._result)
        if hole.isupper():
            return self._expression(hole.lower())
        if hole == "c":
            return f"'{rng.choice(_LETTERS)}'"
        if hole == "k" and rng.random() < _TWO_DIGITS:
            return str(rng.randint(10, 20))
        low, high = {"k": (1, 9), "m": (2, 4), "d": (2, 9), "i": (0, 2), "r": (2, 4)}[hole]
        return str(rng.randint(low, high))

    def _variable(self, kind: str, taken: set[str]) -> str:
        names = [name for name, type_ in self._scope.items() if type_ == kind and name not in taken]
        if not names:
            raise _UnfitError
        weights = [5 if name in self._unread else 1 for name in names]
        name = self._rng.choices(names, weights)[0]
        self._unread.discard(name)
        taken.add(name)
        return name


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))
