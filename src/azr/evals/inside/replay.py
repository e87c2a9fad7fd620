"""Runs published tests on values that the tested program returned in another process.

The request on standard input has `tests` and `prelude` (source), `entry` (name of the tested function), `by_source`,
`values` (by call, as the sandbox returned them) and `cases` (calls with their expected values). The report on standard
output has `wanted`, the calls whose values are still unknown, `failures`, one line for each failed assertion, and
`assertions`, the number of assertions that ran.
"""

import ast
import io
import json
import random
import sys
from collections.abc import Iterator
from typing import Any


class Unknown:
    """A value that is not known yet."""


class Object:
    """In place of a value that is not plain data: true, equal to nothing, and iterable if that value was."""

    def __init__(self, items: list[Any] | None) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        if self.items is None:
            raise TypeError("an object that cannot be iterated")
        return iter(self.items)


class Replay:
    """In place of the tested function: returns recorded values, and collects the calls that have none."""

    def __init__(self, entry: str, values: dict[str, str]) -> None:
        self.entry, self.values = entry, values
        self.wanted: dict[str, None] = {}
        self.failures: list[str] = []
        self.assertions = 0

    def __call__(self, *arguments: object, **keywords: object) -> object:
        """The recorded value of a call with these arguments."""
        texts = [literal(argument) for argument in arguments]
        texts += [f"{name}={literal(argument)}" for name, argument in keywords.items()]
        return self.value(f"{self.entry}({', '.join(texts)})")

    def value(self, call: str) -> object:
        """The recorded value of a call; a new object each time, as a test may change it."""
        if call not in self.values:
            self.wanted[call] = None
            return Unknown()
        return read(self.values[call])


class Rewriter(ast.NodeTransformer):
    """Lets tests continue after a failed assertion, so that all calls are seen; by source, replaces calls by values."""

    def __init__(self, entry: str | None) -> None:
        self.entry = entry

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Wrap an assertion."""
        text = ast.unparse(node)[:200]
        self.generic_visit(node)
        source = (
            f"azr_replay.assertions += 1\ntry:\n    pass\nexcept Exception:\n    azr_replay.failures.append({text!r})"
        )
        wrapped = ast.parse(source).body
        attempt = wrapped[1]
        assert isinstance(attempt, ast.Try)
        attempt.body = [node]
        return ast.If(test=ast.Constant(True), body=wrapped, orelse=[])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Replace a call of the tested function."""
        if isinstance(node.func, ast.Name) and node.func.id == self.entry:
            return ast.parse(f"azr_replay.value({ast.unparse(node)!r})", mode="eval").body
        self.generic_visit(node)
        return node


def literal(value: object) -> str:
    """An argument as source text; a TypeError if it has none."""
    if isinstance(value, (list, tuple, set)) and value:
        inner = ", ".join(literal(item) for item in value)
        return {list: f"[{inner}]", tuple: f"({inner},)", set: f"{{{inner}}}"}[type(value)]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, (bool, int, str, bytes, complex, list, tuple, set)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if abs(value) < float("inf") else f"float('{value}')"
    raise TypeError(f"an argument of type {type(value).__name__} cannot be sent")


def read(text: str) -> object:
    """Parse a recorded value. The text may be hostile; nothing in it is run."""
    return plain(json.loads(ast.literal_eval(text)))


def plain(data: Any) -> Any:
    """The inverse of `azr_plain`."""
    if isinstance(data, list):
        return [plain(item) for item in data]
    if not isinstance(data, dict):
        return data
    ((name, items),) = data.items()
    if name == "dict":
        return {plain(key): plain(item) for key, item in items}
    if name == "bytes":
        return items.encode("latin-1")
    if name == "complex":
        return complex(*items)
    if name == "object":
        return Object(None if items is None else plain(items))
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[name]([plain(item) for item in items])


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the tests once."""
    entry = request["entry"]
    replay = Replay(entry, request["values"])
    names: dict[str, Any] = {"__name__": "tests", "azr_replay": replay, "azr_read": read, "azr_cases": request["cases"]}
    random.seed(0)  # every run of these tests has to make the same calls
    try:
        exec(request["prelude"], names)
        names[entry] = replay
        tree = Rewriter(entry if request["by_source"] else None).visit(ast.parse(request["tests"]))
        exec(compile(ast.fix_missing_locations(tree), "<tests>", "exec"), names)
    except Exception as error:
        replay.failures.append(f"the tests stopped: {type(error).__name__}: {error}"[:200])
    return {"wanted": list(replay.wanted), "failures": replay.failures[:5], "assertions": replay.assertions}


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    request, out = json.load(sys.stdin), sys.stdout
    sys.stdout = io.StringIO()
    report = run(request)
    out.write(json.dumps(report))
