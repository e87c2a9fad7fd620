"""Expressions as they are reduced: which parts are values already, what is evaluated next, and the tree without it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def atomic(node: ast.expr) -> bool:
    """Whether it is a name or a literal."""
    return isinstance(node, (ast.Name, ast.Constant))


def ready(node: ast.expr) -> bool:
    """Whether it is a value: a literal, or the name of a list or a text (see `substitute`)."""
    return atomic(node) or (isinstance(node, ast.List) and all(isinstance(item, ast.Constant) for item in node.elts))


def substitute(node: ast.expr, env: Mapping[str, Any]) -> ast.expr:
    """Put short values in for names. Lists and longer texts stay names: a trace that repeats them grows too long."""
    if isinstance(node, ast.Name):
        value = env.get(node.id)
        short = isinstance(value, int) or (isinstance(value, str) and len(value) <= 1)
        return ast.Constant(value) if short else node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return ast.Constant(-node.operand.value)  # type: ignore[operator]
    return rebuild(node, [substitute(operand, env) for operand in operands(node)])


def operands(node: ast.expr) -> list[ast.expr]:
    """What is evaluated before the operation itself; comprehensions and joins are taken in one step."""
    match node:
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.BoolOp(values=values):
            return values
        case ast.Compare(left=left, comparators=comparators):
            return [left, *comparators]
        case ast.IfExp(test=test):
            return [test]
        case ast.List(elts=items):
            return items
        case ast.Subscript(value=value):
            return [value]
        case ast.Call(func=ast.Attribute(attr="join")):
            return []
        case ast.Call(func=ast.Attribute(value=value), args=arguments):
            return [value, *arguments]
        case ast.Call(args=arguments):
            return arguments
    return []


def rebuild(node: ast.expr, operands: list[ast.expr]) -> ast.expr:
    """The same operation on other operands."""
    match node:
        case ast.BinOp(op=op):
            return ast.BinOp(operands[0], op, operands[1])
        case ast.UnaryOp(op=op):
            return ast.UnaryOp(op, operands[0])
        case ast.BoolOp(op=op):
            return ast.BoolOp(op, operands)
        case ast.Compare(ops=ops):
            return ast.Compare(operands[0], ops, operands[1:])
        case ast.IfExp(body=body, orelse=orelse):
            return ast.IfExp(operands[0], body, orelse)
        case ast.List(ctx=ctx):
            return ast.List(operands, ctx)
        case ast.Subscript(slice=index, ctx=ctx):
            return ast.Subscript(operands[0], index, ctx)
        case ast.Call(func=ast.Attribute(attr="join")):
            return node
        case ast.Call(func=ast.Attribute(attr=name, ctx=ctx), keywords=keywords):
            return ast.Call(ast.Attribute(operands[0], name, ctx), operands[1:], keywords)
        case ast.Call(func=func, keywords=keywords):
            return ast.Call(func, operands, keywords)
    return node
