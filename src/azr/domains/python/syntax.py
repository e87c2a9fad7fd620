"""Readings of a program's syntax tree: normal form, shape, complexity, likeness, degenerate forms.

Only programs that a jailed process has parsed and run are read here, so that no text can hurt the trusted side. It may
still be unable to read one: what runs them may be a later Python, and sets itself no limit on the digits of a number.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

ENTRY = "f"
HELPER = "g"
"""What the helper program of a composite f(g(x)) is called."""

_BUILTIN_NAMES = frozenset(dir(builtins))
_BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.Assert, ast.match_case,
)  # fmt: skip


class UnreadableError(ValueError):
    """The sandbox could read the text, the trusted side cannot."""


class TooDeepError(UnreadableError):
    """The text nests deeper than the trusted side reads."""


@contextmanager
def reading() -> Iterator[None]:
    """Make one of these errors of what Python raises for a text that it cannot parse or a tree that it cannot write.

    Raises:
        TooDeepError: it nests too deep.
        UnreadableError: it is of a later Python, or has a number of more digits than are written.
    """
    try:
        yield
    except (RecursionError, MemoryError) as error:
        raise TooDeepError("the text nests too deep") from error
    except (SyntaxError, ValueError) as error:
        raise UnreadableError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Syntax:
    """What the trusted side reads off a program.

    Attributes:
        normal: the program with its names replaced by v0, v1, ... and its docstrings removed.
        shape: the same with its constants replaced too.
        complexity: McCabe's cyclomatic number, 1 for a straight line.
        grams: how often each chain of node, child and grandchild occurs.
        trivial: "identity", "constant" (reads none of its parameters) or None.
    """

    normal: str
    shape: str
    complexity: int
    grams: Counter[str]
    trivial: str | None


@lru_cache(maxsize=8192)
def read(program: str) -> Syntax:
    """Read a program.

    Raises:
        UnreadableError: see `reading`.
    """
    with reading():
        tree = _Normaliser().visit(_without_docstrings(ast.parse(program)))
        normal = ast.unparse(tree)
        complexity = 1 + sum(_decisions(node) for node in ast.walk(tree))
        grams = Counter(_grams(tree))
        trivial = _trivial(tree)
        return Syntax(normal, ast.unparse(_Mask().visit(tree)), complexity, grams, trivial)


def similarity(one: Counter[str], other: Counter[str]) -> float:
    """Dice coefficient of two multisets of chains: 1 for the same tree, 0 for nothing in common."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def helper_of(program: str) -> str | None:
    """A program as the helper `g` of a composite; None where it has more than one top-level name of its own."""
    tree = ast.parse(program)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    others = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.Import, ast.ImportFrom))]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg)
    }
    if others or [function.name for function in functions] != [ENTRY] or HELPER in names:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == ENTRY:
            node.id = HELPER
    functions[0].name = HELPER
    return ast.unparse(tree)


def calls_helper(program: str) -> bool:
    """Whether the entry function of a composite calls `g`.

    Raises:
        UnreadableError: see `reading`.
    """
    with reading():
        body = ast.parse(program).body
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == ENTRY:
            return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == HELPER
                       for n in ast.walk(node))  # fmt: skip
    return False


class _Normaliser(ast.NodeTransformer):
    """Names that the program binds itself become v0, v1, ... in order of appearance; the entry keeps its name."""

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
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._rename(node.name)
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._rename(node.name)
        self.generic_visit(node)
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        """Modules keep their names: `math.sqrt` is not `cmath.sqrt`."""
        bound = node.asname or node.name.split(".")[0]
        self._names.setdefault(bound, bound)
        return node


class _Mask(ast.NodeTransformer):
    """Constants become their type's name, so that programs alike but for numbers have one shape."""

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
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == ENTRY:
            parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
            match function.body:
                case [ast.Return(value=ast.Name(id=name))] if name in parameters:
                    return "identity"
            read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            return None if read & parameters else "constant"
    return None
