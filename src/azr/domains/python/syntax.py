"""What a program's syntax tree tells: normal form, shape, complexity, similarity, degenerate forms.

Only programs that a jailed process has parsed and run are parsed here. Parsing can still fail: the sandbox may have a
later Python, and it does not limit the digits of a number.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from textwrap import dedent, indent

from azr.domains.answers import RejectedError

ENTRY = "f"
HELPER = "g"
"""Name of the helper program in a composite f(g(x))."""

_BUILTIN_NAMES = frozenset(dir(builtins))
_BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.Assert, ast.match_case,
)  # fmt: skip
_NO_STEPS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Return)
"""Statements that do not count towards the length of a program."""


@contextmanager
def reading() -> Iterator[None]:
    """Turn what `ast.parse` and `ast.unparse` raise into `RejectedError`.

    Raises:
        RejectedError: "too_deep" if the text nests too deeply; "unreadable" if its syntax is of a later Python, or a
            number has more digits than Python writes.
    """
    try:
        yield
    except (RecursionError, MemoryError) as error:
        raise RejectedError("too_deep") from error
    except (SyntaxError, ValueError) as error:
        raise RejectedError("unreadable", str(error)) from error


@dataclass(frozen=True, slots=True)
class Syntax:
    """What `read` finds in a program."""

    normal: str  # the program with its names replaced by v0, v1, ... and its docstrings removed
    shape: str  # the same with its constants replaced too
    complexity: int  # McCabe's cyclomatic number; 1 if nothing branches
    length: int  # number of statements without function definitions, returns and docstrings
    grams: Counter[str]  # counts of each chain of node, child and grandchild
    trivial: str | None  # "identity", "constant" (reads none of its parameters) or None


@lru_cache(maxsize=8192)
def read(program: str) -> Syntax:
    """Parse a program.

    Raises:
        RejectedError: see `reading`.
    """
    with reading():
        tree = _Normaliser().visit(_without_docstrings(ast.parse(program)))
        normal = ast.unparse(tree)
        complexity = 1 + sum(_decisions(node) for node in ast.walk(tree))
        grams, trivial = Counter(_grams(tree)), _trivial(tree)
        length = sum(isinstance(node, ast.stmt) and not isinstance(node, _NO_STEPS) for node in ast.walk(tree))
        return Syntax(normal, ast.unparse(_Mask().visit(tree)), complexity, length, grams, trivial)


def similarity(one: Counter[str], other: Counter[str]) -> float:
    """Dice coefficient of two multisets of chains: 1 for the same tree, 0 if they share nothing."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def helper_of(program: str) -> str | None:
    """A program as the helper `g` of a composite; None if it binds more than one top-level name, or uses `g` itself."""
    tree = ast.parse(program)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    others = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.Import, ast.ImportFrom))]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    arguments = [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    used = HELPER in (*arguments, *(name.id for name in names))
    if others or [function.name for function in functions] != [ENTRY] or used:
        return None
    for name in names:
        if name.id == ENTRY:
            name.id = HELPER
    functions[0].name = HELPER
    return ast.unparse(tree)


def calls_helper(program: str) -> bool:
    """Whether the entry function of a composite calls `g`.

    Raises:
        RejectedError: see `reading`.
    """
    with reading():
        entry = _entry(ast.parse(program))
    calls = [node.func for node in ast.walk(entry) if isinstance(node, ast.Call)] if entry else []
    return any(isinstance(called, ast.Name) and called.id == HELPER for called in calls)


def extended(program: str, lines: str) -> str | None:
    """The program with lines inserted before the `return` that ends its entry.

    None if it does not end so, or if the lines end the call themselves. What follows would be dead, so that a program
    could grow without getting any harder.

    Args:
        program: that `read` has parsed.
        lines: statements; their common indentation is replaced by that of the `return`.
    """
    found = _before_return(program)
    if found is None or _leave(lines):
        return None
    at, indentation = found
    written = program.split("\n")
    return "\n".join([*written[:at], indent(dedent(lines), indentation), *written[at:]])


def _leave(lines: str) -> bool:
    """Whether statements leave their function whatever happens; False if they cannot be parsed."""
    try:
        (function,) = ast.parse(f"def f():\n{indent(dedent(lines), ' ')}").body
    except (SyntaxError, ValueError):
        return False
    leaving = (ast.Return, ast.Raise)
    return isinstance(function, ast.FunctionDef) and any(isinstance(one, leaving) for one in function.body)


def joined(first: str, second: str) -> str | None:
    """One program that does what `first` does, and then with its results what `second` does: f(g(x)) without calls.

    None unless both are a single function of the same parameters, and `first` ends by returning a list or tuple of as
    many values. Those are assigned to the parameters, unless they are the parameters in their order.
    """
    found, entries = _before_return(first), [_only_function(program) for program in (first, second)]
    if found is None or entries[0] is None or entries[1] is None or _before_return(second) is None:
        return None
    one, two = entries[0], entries[1]
    names = [argument.arg for argument in one.args.args]
    match one.body[-1]:
        case ast.Return(value=ast.List(elts=values) | ast.Tuple(elts=values)):
            returned = [ast.unparse(value) for value in values]
        case _:
            return None
    if len(values) != len(names) or any(isinstance(value, ast.Starred) for value in values):
        return None
    if ast.dump(one.args) != ast.dump(two.args) or one.body[0].lineno == one.lineno:
        return None
    lines, others = first.split("\n"), second.split("\n")
    at, begin = two.body[0].lineno - 1, one.body[0].lineno - 1
    if not others[at][: two.body[0].col_offset].isspace():
        return None
    moved = dedent("\n".join(lines[begin : found[0]]))
    assigned = "" if returned == names else f"{', '.join(names)} = {', '.join(returned)}"
    inserted = "\n".join(filter(None, (moved, assigned)))
    margin = others[at][: two.body[0].col_offset]
    return "\n".join([*others[:at], *([indent(inserted, margin)] if inserted else []), *others[at:]])


def _before_return(program: str) -> tuple[int, str] | None:
    """Index and indentation of the line with the `return` that ends the entry; None if it has no line of its own."""
    if (entry := _entry(ast.parse(program))) is None or not isinstance(last := entry.body[-1], ast.Return):
        return None
    lines = program.split("\n")
    line = lines[last.lineno - 1] if last.lineno <= len(lines) else ""
    before = line[: last.col_offset]
    return (last.lineno - 1, before) if before.isspace() and line[last.col_offset :].startswith("return") else None


def _only_function(program: str) -> ast.FunctionDef | None:
    match ast.parse(program).body:
        case [ast.FunctionDef(name=name) as function] if name == ENTRY:
            return function
    return None


def _entry(tree: ast.Module) -> ast.FunctionDef | None:
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return next((function for function in functions if function.name == ENTRY), None)


class _Normaliser(ast.NodeTransformer):
    """Renames what the program binds to v0, v1, ... in order of appearance; the entry keeps its name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {ENTRY: ENTRY}

    def _rename(self, name: str) -> str:
        if name in _BUILTIN_NAMES and name not in self._names:
            return name
        return self._names.setdefault(name, f"v{len(self._names) - 1}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._rename(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._rename(node.arg)
        node.annotation = None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg in self._names:
            node.arg = self._names[node.arg]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        node.name = self._rename(node.name)
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        """Modules keep their names: `math.sqrt` is not `cmath.sqrt`."""
        bound = node.asname or node.name.split(".")[0]
        self._names.setdefault(bound, bound)
        return node


class _Mask(ast.NodeTransformer):
    """Replaces constants by the name of their type."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Name(id=type(node.value).__name__.upper(), ctx=ast.Load())

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Name(id="STR", ctx=ast.Load())


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _decisions(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _grams(tree: ast.AST) -> list[str]:
    chains = []
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            below = [_label(grandchild) for grandchild in ast.iter_child_nodes(child)] or ["-"]
            chains += [f"{_label(node)}>{_label(child)}>{grandchild}" for grandchild in below]
    return chains


def _label(node: ast.AST) -> str:
    name = type(node).__name__
    if isinstance(node, ast.Name) and node.id in _BUILTIN_NAMES:
        return f"{name}:{node.id}"
    return f"{name}:{node.attr}" if isinstance(node, ast.Attribute) else name


def _trivial(tree: ast.Module) -> str | None:
    if (entry := _entry(tree)) is None:
        return None
    parameters = {argument.arg for argument in ast.walk(entry.args) if isinstance(argument, ast.arg)}
    match entry.body:
        case [ast.Return(value=ast.Name(id=name))] if name in parameters:
            return "identity"
    used = {node.id for node in ast.walk(entry) if isinstance(node, ast.Name)}
    return None if used & parameters else "constant"
