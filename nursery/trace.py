"""Runs a small program statement by statement and writes down what happens: the trace that a model can learn to think.

One short line per executed statement, in the order of execution and in the statement's own words:

    c = 3 + 4 * 2 = 3 + 8 = 11      an assignment: numbers put in for names, one reduction after another, the value
    if 11 > 9 = True                a test
    x = 5                           the next round of a loop
    sum: 1, 3, 6                    partial sums
    g(3)                            a call of the helper, followed by its lines
    return 11                       the result

This is an interpreter of the nursery's language, so that a trace cannot disagree with what it traces; the tests compare
its results with CPython's.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

from nursery.reduce import atomic, operands, ready, rebuild, substitute

SMALLEST, LARGEST, LONGEST_LIST, LONGEST_TEXT = -99, 199, 8, 12
"""Limits of every value that a statement gives."""

_BUILTINS: dict[str, Callable[..., Any]] = {
    "abs": abs, "len": len, "list": list, "max": max, "min": min, "range": range, "sorted": sorted, "str": str,
    "sum": sum,
}  # fmt: skip
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda x, y: x in y, ast.NotIn: lambda x, y: x not in y,
    ast.USub: operator.neg, ast.Not: operator.not_,
}  # fmt: skip

Env = dict[str, Any]


class OutOfBoundsError(Exception):
    """The execution leaves the nursery's limits: too many lines, or a value too large."""


class UnsupportedError(Exception):
    """The program is written in more of Python than the nursery's language."""


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation in the body of `f`, from which `backward.py` reasons from the output to the input.

    Attributes:
        head: what the value is for: "return", "if", "while", "for", or the name of a variable that it is bound to.
        node: the expression.
        value: what it came to.
        reads: the variables in it, with their values before.
    """

    head: str
    node: ast.expr
    value: Any
    reads: Env


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a program.

    Attributes:
        input: the arguments as the text between the parentheses of a call.
        output: the result's text.
        lines: the trace.
        steps: what `f` itself evaluated, in order; calls of the helper are single operations here.
    """

    input: str
    output: str
    lines: tuple[str, ...]
    steps: tuple[Step, ...] = field(compare=False, repr=False)

    @property
    def trace(self) -> str:
        """The trace as one text."""
        return "\n".join(self.lines)


def execute(program: str, arguments: Sequence[Any], *, lines: int = 48) -> Execution | None:
    """Run `f` of a program on arguments; None where it raises, takes too long or leaves the limits.

    Args:
        program: source text in the nursery's language.
        arguments: values for the parameters of `f`; not changed.
        lines: longest trace; longer counts as out of bounds.

    Raises:
        UnsupportedError: the program uses something that is not in the language.
    """
    machine = _Machine(_functions(program), lines)
    copies = [list(value) if isinstance(value, list) else value for value in arguments]
    try:
        result = machine.call("f", copies)
    except (OutOfBoundsError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return Execution(", ".join(map(repr, arguments)), repr(result), tuple(machine.lines), tuple(machine.steps))


@lru_cache(maxsize=4096)
def _functions(program: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)}


class _ReturnSignal(Exception):  # noqa: N818  # not an error: it carries a value
    """Unwinds the blocks of a function to its call."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _Machine:
    """The functions of one program, and the lines written so far."""

    def __init__(self, functions: dict[str, ast.FunctionDef], limit: int) -> None:
        self.lines: list[str] = []
        self.steps: list[Step] = []
        self._depth = 0
        self._functions = functions
        self._limit = limit
        self._silent = False

    def call(self, name: str, arguments: list[Any]) -> Any:
        function = self._functions[name]
        names = [argument.arg for argument in function.args.args]
        self._depth += 1
        try:
            self._block(function.body, dict(zip(names, arguments, strict=True)))
        except _ReturnSignal as returned:
            return returned.value
        finally:
            self._depth -= 1
        return None

    def _write(self, line: str) -> None:
        if not self._silent:
            self.lines.append(line)
            if len(self.lines) > self._limit:
                raise OutOfBoundsError

    def _step(self, head: str, node: ast.expr, value: Any, env: Env) -> None:
        if self._depth == 1 and not self._silent:
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            self.steps.append(Step(head, node, value, {name: env[name] for name in env if name in names}))

    def _block(self, body: list[ast.stmt], env: Env) -> None:
        for statement in body:
            self._statement(statement, env)

    def _statement(self, node: ast.stmt, env: Env) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                env[name] = self._chain(f"{name} = ", value, env)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                env[name] = self._chain(f"{name} = ", ast.BinOp(ast.Name(name, ast.Load()), op, value), env)
            case ast.If(test=test, body=body, orelse=orelse):
                self._block(body if self._chain("if ", test, env) else orelse, env)
            case ast.For(target=ast.Name(id=name), iter=items, body=body):
                rounds = self._value(items, env)
                self._step("for", items, rounds, env)
                for number, item in enumerate(rounds):
                    self._write(f"{name} = {item!r}")
                    self._step(name, ast.Subscript(items, ast.Constant(number), ast.Load()), item, env)
                    env[name] = item
                    self._block(body, env)
            case ast.While(test=test, body=body):
                while self._chain("while ", test, env):
                    self._block(body, env)
            case ast.Return(value=ast.expr() as value):
                raise _ReturnSignal(self._chain("return ", value, env))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value])):
                item = self._value(value, env) if atomic(value) else self._chain("", value, env)
                longer = _bounded([*env[name], item])
                self._step(name, ast.BinOp(ast.Name(name), ast.Add(), ast.List([value])), longer, env)
                env[name] = longer
                self._write(f"{name} = {env[name]!r}")
            case _:
                raise UnsupportedError(ast.unparse(node))

    def _chain(self, head: str, node: ast.expr, env: Env) -> Any:
        """Evaluate an expression, and write it with its reductions on a line that starts with `head`."""
        if self._silent:
            return _bounded(self._value(node, env))
        source, form = ast.unparse(node), substitute(node, env)
        forms = [ast.unparse(form)]
        while not ready(form):
            form = self._reduce(form, env)
            forms.append(ast.unparse(form))
        value = _bounded(self._silently(node, env))
        if len(forms) > 1 and forms[0] == source:
            del forms[0]
        forms[-1] = repr(value)
        self._write(head + " = ".join(forms))
        if head:
            self._step(head.split()[0], node, value, env)
        return value

    def _silently(self, node: ast.expr, env: Env) -> Any:
        before, self._silent = self._silent, True
        try:
            return self._value(node, env)
        finally:
            self._silent = before

    def _reduce(self, node: ast.expr, env: Env) -> ast.expr:
        """One step: every operation whose operands are values becomes its value."""
        if ready(node):
            return node
        parts = operands(node)
        if all(map(ready, parts)):
            if isinstance(node, ast.IfExp):
                return node.body if self._value(node.test, env) else node.orelse
            return ast.Constant(_bounded(self._value(node, env)))
        return rebuild(node, [self._reduce(part, env) for part in parts])

    def _value(self, node: ast.expr, env: Env) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return env[name]
            case ast.List(elts=items):
                return [self._value(item, env) for item in items]
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](self._value(left, env), self._value(right, env))
            case ast.UnaryOp(op=op, operand=operand):
                return _OPERATORS[type(op)](self._value(operand, env))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _OPERATORS[type(op)](self._value(left, env), self._value(right, env))
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self._value(value, env) for value in values)
            case ast.BoolOp(op=ast.Or(), values=values):
                return any(self._value(value, env) for value in values)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._value(body if self._value(test, env) else orelse, env)
            case ast.Subscript(value=value, slice=ast.Slice(lower=low, upper=high, step=step)):
                parts = [part and self._value(part, env) for part in (low, high, step)]
                return self._value(value, env)[slice(*parts)]
            case ast.Subscript(value=value, slice=index):
                return self._value(value, env)[self._value(index, env)]
            case ast.ListComp(
                elt=element, generators=[ast.comprehension(target=ast.Name(id=name), iter=items, ifs=ifs)]
            ):
                inner = [{**env, name: item} for item in self._value(items, env)]
                kept = [scope for scope in inner if all(self._silently(test, scope) for test in ifs)]
                return [self._silently(element, scope) for scope in kept]
            case ast.Call(func=func, args=arguments):
                return self._called(func, [self._value(argument, env) for argument in arguments], env)
        raise UnsupportedError(ast.unparse(node))

    def _called(self, func: ast.expr, arguments: list[Any], env: Env) -> Any:
        match func:
            case ast.Attribute(value=value, attr=name):
                return getattr(self._value(value, env), name)(*arguments)
            case ast.Name(id=name) if name in self._functions:
                self._write(f"{name}({', '.join(map(repr, arguments))})")
                return self.call(name, arguments)
            case ast.Name(id="sum") if not self._silent:
                self._write("sum: " + ", ".join(map(repr, accumulate(arguments[0]))))
                return sum(arguments[0])
            case ast.Name(id=name) if name in _BUILTINS:
                return _BUILTINS[name](*arguments)
        raise UnsupportedError(ast.unparse(func))


def _bounded(value: Any) -> Any:
    if isinstance(value, list):
        within = len(value) <= LONGEST_LIST and all(map(_bounded_item, value))
    else:
        within = _bounded_item(value)
    if not within:
        raise OutOfBoundsError
    return value


def _bounded_item(value: Any) -> bool:
    return len(value) <= LONGEST_TEXT if isinstance(value, str) else SMALLEST <= value <= LARGEST
