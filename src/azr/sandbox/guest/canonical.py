"""Values to canonical text and back: one text per value, and only plain data.

A value leaves the process that ran a program only as this text. Two values are equal, types included, exactly if their
texts are equal byte for byte; the trusted side never parses them.

* Exact builtin types only: None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset. A subclass could
  lie about itself in `__eq__` or `__repr__`, so it is not a value.
* `1`, `1.0` and `True` are three values; so are `0.0` and `-0.0`. An infinity is written `1e999` or `-1e999`, which
  reads back as itself. NaN equals nothing, not even itself, so it has no text.
* Entries of dicts and elements of sets are sorted by their texts; the empty sets are `set()` and `frozenset()`.
* Strings are written by `repr`, which escapes lone surrogates, so canonical text can always be encoded as UTF-8.
"""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_SAFE_BITS = 2_000
"""An integer of fewer bits prints under any limit that `sys.set_int_max_str_digits` accepts (640 digits or more)."""


class UnsupportedError(Exception):
    """The value has no canonical text."""


class TooLargeError(Exception):
    """The canonical text would be longer than the limit."""


class NotLiteralError(Exception):
    """The text is not a literal."""


def canonical(value: object, *, output_bytes: int, depth: int) -> str:
    """Return a value's canonical text.

    Args:
        value: anything.
        output_bytes: the longest text allowed, in bytes of UTF-8.
        depth: how many containers may be nested in one another; also bounds a value that contains itself.

    Raises:
        UnsupportedError: a type that is not in the list above, a NaN, or too deep.
        TooLargeError: longer than `output_bytes`.
    """
    text = _text(value, output_bytes, depth)
    # Characters were counted on the way; bytes can be up to four times as many.
    if len(text) > output_bytes or not (text.isascii() or len(text.encode()) <= output_bytes):
        raise TooLargeError
    return text


def _text(value: Any, room: int, depth: int) -> str:
    """Return the text of `value`, or stop soon after it cannot fit into `room` characters.

    Thirty lists that each hold the previous one twice are small in memory and a gigabyte as text.
    """
    kind = type(value)
    write_scalar = _SCALARS.get(kind)
    if write_scalar is not None:
        return write_scalar(value, room)
    frame = _CONTAINERS.get(kind)
    if frame is None:
        raise UnsupportedError(f"a value of type {type.__dict__['__name__'].__get__(kind)}"[:120])
    if depth <= 0:
        raise UnsupportedError("a value that is nested too deep")
    texts = []
    # Entries, and no looking up: a key beside one of ours may be of a class that runs the program's code to compare.
    for element in value.items() if kind is dict else value:
        if kind is dict:
            text = f"{_text(element[0], room, depth - 1)}: {_text(element[1], room, depth - 1)}"
        else:
            text = _text(element, room, depth - 1)
        texts.append(text)
        room -= len(text) + 2
        if room < -2:
            raise TooLargeError
    opening, closing, empty = frame
    if not texts:
        return empty
    if kind is tuple and len(texts) == 1:
        return f"({texts[0]},)"
    if kind is not list and kind is not tuple:
        texts.sort()
    return opening + ", ".join(texts) + closing


def _int_text(value: Any, room: int) -> str:
    bits = value.bit_length()
    if bits < _SAFE_BITS:
        return repr(value)
    if (bits - 1) * 0.30102 > room:  # log10(2), rounded down: never calls a number too large that would fit
        raise TooLargeError
    with _any_number_of_digits():
        return repr(value)


def _float_text(value: Any, room: int) -> str:
    if math.isfinite(value):
        return repr(value)
    if value != value:
        raise UnsupportedError("NaN, which equals nothing")
    return "1e999" if value > 0 else "-1e999"


def _sized_text(value: Any, room: int) -> str:
    if len(value) > room:
        raise TooLargeError
    return repr(value)


_SCALARS: dict[type, Callable[[Any, int], str]] = {
    int: _int_text,
    str: _sized_text,
    float: _float_text,
    bool: lambda value, room: "True" if value else "False",
    type(None): lambda value, room: "None",
    bytes: _sized_text,
}

_CONTAINERS: dict[type, tuple[str, str, str]] = {
    list: ("[", "]", "[]"),
    tuple: ("(", ")", "()"),
    dict: ("{", "}", "{}"),
    set: ("{", "}", "set()"),
    frozenset: ("frozenset({", "})", "frozenset()"),
}
"""What encloses the elements of each kind of container, and the text of an empty one."""


def literal(text: str, *, depth: int) -> object:
    """Read a literal: what `ast.literal_eval` reads, and `frozenset({...})`.

    Raises:
        NotLiteralError: not a literal, or nested deeper than `depth` containers.
        UnsupportedError: a literal without canonical text (a complex number, an ellipsis).
        MemoryError: more than this process has.
    """
    plain = _plain_list(text, depth)
    return plain[0] if plain and len(plain) == 1 else _value(_parse(text.strip()), depth)


def call_arguments(text: str, *, depth: int) -> tuple[list[object], dict[str, object]]:
    """Read what stands between the parentheses of a call: literals, by position and by keyword.

    The text is parsed inside a call, and the tree must be exactly that call with literals in it: `1) or (True` is not.

    Raises:
        NotLiteralError: anything but literals; a keyword given twice.
        UnsupportedError: a literal without canonical text.
        MemoryError: more than this process has.
    """
    plain = _plain_list(text, depth)
    if plain is not None:
        return plain, {}
    # The line break keeps a comment at the end of the text from swallowing the parenthesis.
    node = _parse(f"f({text}\n)")
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise NotLiteralError("the text closes the call that it should fill")
    arguments = [_value(argument, depth) for argument in node.args]
    keywords: dict[str, object] = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in keywords:
            raise NotLiteralError("keywords must be named, and only once each")
        keywords[keyword.arg] = _value(keyword.value, depth)
    return arguments, keywords


def _plain_list(text: str, depth: int) -> list[object] | None:
    """Read the elements of a list with the JSON parser, which is ten times faster than Python's.

    None if Python might read something else or refuse: words (`true` is a name in Python), escapes, two kinds of
    quotes, characters beyond ASCII, deep nesting, and whatever is not JSON.
    """
    if _NOT_SHARED.search(text) or ("'" in text and '"' in text) or text.count("[") + text.count("{") > depth:
        return None
    source = "[" + text.replace("'", '"') + "]"
    try:
        elements, end = _READ_JSON(source, 0)
    except (ValueError, StopIteration):
        return None
    return elements if end == len(source) else None


# What `json.loads` calls in the end.
_READ_JSON: Callable[[str, int], tuple[list[object], int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_NOT_SHARED = re.compile(r"[^ -~]|\\|true|false|null|NaN|Infinity")


def _parse(source: str) -> ast.expr:
    try:
        with _any_number_of_digits():
            return ast.parse(source, "<input>", "eval").body
    # ValueError: null bytes, lone surrogates. RecursionError: nested deeper than any literal may be.
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NotLiteralError(f"{type(error).__name__}: {error}"[:200]) from None
    except MemoryError:
        if _nests(source):
            raise NotLiteralError("nested too deep") from None
        raise


def _nests(source: str) -> bool:
    """Whether a MemoryError of the parser may mean that its stack overflowed, and not that this process has too little.

    Its stack holds any literal: brackets to the depth that its tokenizer allows, and one sign. It overflows where
    signs, words or stars follow one another, as in `--1`, also within an f-string.
    """
    return _CHAIN.search(_TEXT.sub("''", source)) is not None


_TEXT = re.compile(
    r"""(?s:'{3}(?:[^\\]|\\.)*?'{3}|"{3}(?:[^\\]|\\.)*?"{3}|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|#[^\n]*)"""
)
"""A string or a comment."""
_CHAIN = re.compile(r"[-+~]\s*[-+~]|\*|:=|\b(?:not|lambda|if|await)\b|(?i:\br?fr?'')")


def _value(node: ast.expr, depth: int) -> object:
    """Evaluate a literal node. Nothing is ever called or looked up."""
    match node:
        case ast.Constant(value=value):
            if value is ... or type(value) is complex:
                raise UnsupportedError(f"a literal of type {type(value).__name__}")
            return value
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() as sign, operand=ast.Constant(value=number)):
            if type(number) not in (int, float):
                raise NotLiteralError("a sign before something that is not a number")
            return -number if isinstance(sign, ast.USub) else +number  # type: ignore[operator]
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.Call() if depth <= 0:
            raise NotLiteralError("nested too deep")
        case ast.List(elts=elements):
            return [_value(element, depth - 1) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple([_value(element, depth - 1) for element in elements])
        case ast.Set():
            return _set(node, depth)
        case ast.Dict(keys=keys, values=values):
            return dict(zip(_hashable(keys, depth), [_value(item, depth - 1) for item in values], strict=True))
        case ast.Call(func=ast.Name(id="set"), args=[], keywords=[]):
            return set()
        case ast.Call(func=ast.Name(id="frozenset"), args=[], keywords=[]):
            return frozenset()
        case ast.Call(func=ast.Name(id="frozenset"), args=[ast.Set() as display], keywords=[]):
            return frozenset(_set(display, depth))
    raise NotLiteralError(f"not a literal: {type(node).__name__}")


def _set(node: ast.Set, depth: int) -> set[object]:
    """Evaluate a set display of literals; where hashes collide, its order depends on how the compiler builds it."""
    _hashable(node.elts, depth)  # nothing but literals is in there
    code = compile(ast.Expression(node), "<input>", "eval", dont_inherit=True)
    built: set[object] = eval(code, {"__builtins__": {}, "frozenset": frozenset})
    return built


def _hashable(nodes: Iterable[ast.expr | None], depth: int) -> list[object]:
    values = []
    for node in nodes:
        if node is None:
            raise NotLiteralError("a dict unpacked into another")
        value = _value(node, depth - 1)
        try:
            hash(value)
        except TypeError as error:
            raise NotLiteralError(str(error)) from None
        values.append(value)
    return values


@contextmanager
def _any_number_of_digits() -> Iterator[None]:
    """Lift CPython's limit on digits for our own conversions; programs keep it."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)
