"""The message of an induction task: which operations a program uses, in their order, without its numbers."""

from __future__ import annotations

import ast

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "div", ast.Mod: "mod", ast.Gt: "gt", ast.GtE: "gt",
    ast.Lt: "lt", ast.LtE: "lt", ast.Eq: "eq", ast.NotEq: "not", ast.In: "in", ast.NotIn: "not", ast.And: "and",
    ast.Or: "or", ast.Not: "not",
}  # fmt: skip
_STATEMENTS: dict[type[ast.AST], str] = {
    ast.If: "if", ast.IfExp: "if", ast.For: "for", ast.While: "while", ast.List: "list", ast.ListComp: "map",
}  # fmt: skip


def hint(program: str) -> list[str]:
    """Words such as "mul if gt sub", in the order of the source; "const" where it only moves values about."""
    return [word for node in ast.parse(program).body for word in _words(node)] or ["const"]


def _words(node: ast.AST) -> list[str]:
    below = [word for child in ast.iter_child_nodes(node) for word in _words(child)]
    match node:
        case ast.BinOp(op=op, left=left, right=right):
            return [*_words(left), _OPERATORS[type(op)], *_words(right)]
        case ast.AugAssign(op=op, value=value):
            return [_OPERATORS[type(op)], *_words(value)]
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return [*_words(left), _OPERATORS.get(type(op), "eq"), *_words(right)]
        case ast.BoolOp(op=op, values=values):
            return [_OPERATORS[type(op)], *(word for value in values for word in _words(value))]
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments):
            return [*_words(value), name, *(word for argument in arguments for word in _words(argument))]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return [name, *(word for argument in arguments for word in _words(argument))]
        case ast.Subscript(value=value, slice=ast.Slice(step=step)):
            return [*_words(value), "reversed" if step else "slice"]
        case ast.Subscript(value=value):
            return [*_words(value), "index"]
        case ast.comprehension(ifs=ifs) if ifs:
            return ["filter", *below]
    word = _STATEMENTS.get(type(node))
    return [word, *below] if word else below
