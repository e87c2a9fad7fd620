"""Canonical text: one text per value, typed and exact, and it reads back."""

import ast
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.sandbox.guest.canonical import (
    NotLiteralError,
    TooLargeError,
    UnsupportedError,
    call_arguments,
    canonical,
    literal,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, 10**50, 1e16, "", b"", "\ud800", "'\"\\\n"])
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner) | st.tuples(inner, inner) | st.frozensets(inner), max_leaves=6
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner) | st.dictionaries(HASHABLE, inner) | st.sets(HASHABLE) | st.tuples(inner, inner),
    max_leaves=12,
)


def text(value: object) -> str:
    return canonical(value, output_bytes=10**6, depth=32)


def same(a: object, b: object) -> bool:
    """Say whether two values are equal, types included: written without any text, to judge the text by."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return len(a) == len(b) and all(any(same(k, j) and same(a[k], b[j]) for j in b) for k in a)
    if isinstance(a, set | frozenset) and isinstance(b, set | frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return bool(a == b)


@given(VALUES, VALUES)
def test_equal_values_and_only_they_have_equal_texts(a, b):
    assert (text(a) == text(b)) == same(a, b)


@given(VALUES)
def test_text_reads_back_as_the_value_and_is_one_line_that_can_be_encoded(value):
    written = text(value)
    assert same(literal(written, depth=32), value)
    assert written.isprintable()
    written.encode()


@given(VALUES)
def test_what_literal_eval_reads_is_read_alike(value):
    source = repr(value)
    try:
        expected = ast.literal_eval(source)
    except (ValueError, SyntaxError, TypeError):  # inf, frozenset(...)
        return
    assert same(literal(source, depth=32), expected)


@given(st.lists(VALUES, max_size=3))
def test_arguments_are_read_as_python_reads_them(values):
    written = ", ".join(map(text, values))
    arguments, keywords = call_arguments(written, depth=32)
    assert same(arguments, values)
    assert keywords == {}


@given(st.text("01[]{}(),.:'\"- truefalsn\\#\n", max_size=14))
def test_the_quick_way_of_reading_agrees_with_the_parser(source):
    """Whatever the text: what is read is what `ast.literal_eval` reads, or nothing is."""
    try:
        expected = list(ast.literal_eval(f"[{source}\n]"))
    except (ValueError, SyntaxError, TypeError, MemoryError):
        expected = None
    try:
        arguments, _ = call_arguments(source, depth=32)
    except (NotLiteralError, UnsupportedError):
        return
    if expected is not None:
        assert same(arguments, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (True, "True"),
        (-0.0, "-0.0"),
        (math.inf, "1e999"),
        (-math.inf, "-1e999"),
        ((1,), "(1,)"),
        (set(), "set()"),
        (frozenset(), "frozenset()"),
        (frozenset({2, 1}), "frozenset({1, 2})"),
        ({2: "b", 1: ["a"]}, "{1: ['a'], 2: 'b'}"),
        ({10, 9}, "{10, 9}"),
        ("caf\u00e9 \ud800", "'caf\u00e9 \\ud800'"),
        (b"\xff", "b'\\xff'"),
    ],
)
def test_texts_by_hand(value, expected):
    assert text(value) == expected


class Pretender(int):
    def __repr__(self):
        return "42"


@pytest.mark.parametrize(
    "value", [math.nan, 1j, ..., object(), Pretender(1), [math.nan], range(3), bytearray(b"x"), int]
)
def test_values_without_text(value):
    with pytest.raises(UnsupportedError):
        text(value)


def test_a_value_that_contains_itself_has_no_text():
    value = []
    value.append(value)
    with pytest.raises(UnsupportedError):
        text(value)


def test_depth_counts_containers():
    assert canonical([[1]], output_bytes=99, depth=2) == "[[1]]"
    with pytest.raises(UnsupportedError):
        canonical([[[]]], output_bytes=99, depth=2)
    with pytest.raises(NotLiteralError):
        literal("[[[1]]]", depth=2)


@given(VALUES, st.integers(1, 60))
def test_the_limit_on_size_is_exact_and_nothing_is_cut(value, limit):
    whole = text(value)
    if len(whole.encode()) <= limit:
        assert canonical(value, output_bytes=limit, depth=32) == whole
    else:
        with pytest.raises(TooLargeError):
            canonical(value, output_bytes=limit, depth=32)


def test_numbers_of_any_length_are_written_and_read():
    assert literal(text(-(7**9000)), depth=1) == -(7**9000)
    with pytest.raises(TooLargeError):
        canonical(10**100, output_bytes=100, depth=1)
    assert len(canonical(10**99, output_bytes=100, depth=1)) == 100


def test_a_small_value_with_a_huge_text_is_refused_at_once():
    value = []
    for _ in range(31):
        value = [value, value]
    with pytest.raises(TooLargeError):
        text(value)


@pytest.mark.parametrize(
    "source",
    [
        *("1) or (True", "1)(2", "1), f(2", ")", "(", "*[1]", "**{'x': 1}", "x", "x=1, x=2", "x=y", "f(1)", "1 + 1"),
        *("not True", "~1", "-True", "lambda: 1", "[i for i in [1]]", "i for i in [1]", "f'{1}'", "x.y", "(x := 1)", "1 if 1 else 2"),
        *("{**{}}", "{[]: 1}", "{{}}", "'", "\x00", "\ud800", "true", "null", "NaN", "1; 2", "(yield)", "await x", "__import__('os')"),
        *("1\n)\n(2", "1 # )", "1]\n[2", "-'a'", "frozenset([1])", "set([1])", "frozenset({1}, 2)", "print", "not_a_name"),
    ],
)  # fmt: skip
def test_no_text_can_leave_the_call_that_it_fills(source):
    if source == "1 # )":  # a comment is just that
        assert call_arguments(source, depth=9) == ([1], {})
        return
    with pytest.raises(NotLiteralError):
        call_arguments(source, depth=9)


def test_keywords_and_spelling():
    read = call_arguments(" -1, [2,\n 'a' 'b'], key={'k': (True, None)}, other=1e999,  # end", depth=9)
    assert read == ([-1, [2, "ab"]], {"key": {"k": (True, None)}, "other": math.inf})


@pytest.mark.parametrize("source", ["(" * 500 + ")" * 500, "-" * 100_000 + "1", "[" * 100_000])
def test_texts_that_are_too_deep_to_parse_are_no_literals(source):
    with pytest.raises(NotLiteralError):
        literal(source, depth=32)


@pytest.mark.parametrize("operator", ["-", "- + ", "~", "not ", "lambda: ", "2 ** ", "1 if 1 else ", "await "])
def test_what_overflows_the_parsers_stack_is_no_literal(operator):
    for text in (operator * 9000 + "1", "f'{" + operator * 9000 + "1}'"):
        with pytest.raises(NotLiteralError):
            literal(text, depth=8)


@pytest.mark.parametrize("text", ["(1, -2), ", "'--', ", "'a\\'--', ", '"""\'--""", ', "1, # --1\n", "b'not x', "])
def test_a_literal_without_the_memory_to_read_it_is_a_literal(text):
    code = "import resource, sys; from azr.sandbox.guest.canonical import literal; used = resource.getpagesize()"
    code += "; used *= int(open('/proc/self/statm').read().split()[0]); text = '[' + sys.argv[1] * 40_000 + '()]'"
    code += "; resource.setrlimit(resource.RLIMIT_AS, (used + 2**23,) * 2); literal(text, depth=8)"
    ran = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True)
    assert ran.stderr.splitlines()[-1] == "MemoryError"
