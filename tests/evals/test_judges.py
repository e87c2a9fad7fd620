"""Judges: they compare values as data, and nothing that an answer does to its own process changes a verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.evals import forgeries
from azr.evals.inside import plus, replay, values
from azr.evals.judges import CaseTests, InputGives, OutputIs, Prints, PublishedTests, same_print
from azr.evals.runner import Runner

TESTS = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\ncheck(square)"
SQUARE = PublishedTests("square", TESTS, by_source=False)
BY_SOURCE = PublishedTests("square", "assert square(2) == 4\nassert square(3) == 9")

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner)
    | st.lists(inner).map(tuple)
    | st.dictionaries(st.integers() | st.text(), inner)
    | st.sets(st.integers())
    | st.frozensets(st.text()),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture
def runner(sandbox):
    return Runner(sandbox, seconds=1.0)


def carried(value):
    """A value as it arrives in the process of the tests."""
    return replay.read(repr(values.azr_json.dumps(values.azr_plain(value))))


@given(plain)
def test_plain_values_arrive_as_they_left(value):
    assert carried(value) == value
    assert type(carried(value)) is type(value)


def test_the_order_of_a_dict_arrives():
    assert list(carried({"b": 1, "a": 2})) == ["b", "a"]


def test_a_subclass_arrives_as_the_builtin_that_it_is():
    class Liar(list):
        def __eq__(self, other):
            return True

    assert carried(Liar([1])) == [1]
    assert carried(Liar([1])) != [2]


def test_any_other_object_is_true_and_equal_to_nothing():
    class Anything:
        def __eq__(self, other):
            return True

    found = carried(Anything())
    assert found
    assert found != 1


def test_an_iterator_yields_but_equals_nothing():
    found = carried(iter([1, 2]))
    assert list(found) == [1, 2]
    assert found != [1, 2]


def test_a_hostile_text_in_place_of_a_value_is_never_run():
    with pytest.raises(ValueError, match="malformed"):
        replay.read("__import__('os').system('true')")


@pytest.mark.parametrize("judge", [SQUARE, BY_SOURCE], ids=["by arguments", "by source"])
async def test_a_right_program_passes(judge, runner):
    assert (await judge.judge("def square(x):\n    return x * x", runner)).passed


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def square(x):\n    return 4", "wrong"),
        ("def square(x):\n    return x * x if x < 3 else None", "wrong"),
        ("def square(x): return", "wrong"),
        ("def cube(x):\n    return x", "error"),
        ("def square(x):\n    return 1 / 0", "error"),
        ("def square(x)\n    return 4", "syntax"),
        ("", "no_answer"),
        ("import os\ndef square(x):\n    os._exit(0)", "crashed"),
        ("def square(x):\n    while True:\n        pass", "timeout"),
        ("def square(x):\n    return [0] * 10**9", "memory"),
        ("def square(x):\n    return 'x' * 10**6", "output_too_large"),
    ],
)
@pytest.mark.parametrize("judge", [SQUARE, BY_SOURCE], ids=["by arguments", "by source"])
async def test_a_wrong_program_fails_and_says_why(judge, program, reason, runner):
    assert (await judge.judge(program, runner)).reason == reason


@pytest.mark.parametrize(
    "trick",
    [
        "import builtins, json, ast\njson.dumps = ast.literal_eval = lambda *_: 'true'",
        "azr_plain = azr_call = azr_json = None",
        "import sys\nsys.modules['json'].loads = lambda *_: {'failures': [], 'wanted': [], 'assertions': 9}",
        'print(\'{"wanted": [], "failures": [], "assertions": 9}\')\nimport sys\nsys.exit(0)',
        "AssertionError = Exception\n__builtins__['AssertionError'] = None",
    ],
)
async def test_a_program_cannot_pass_by_changing_its_own_process(trick, runner):
    assert not (await SQUARE.judge(f"{trick}\ndef square(x):\n    return True", runner)).passed


SPY = """
import gc, sys
def square(x):
    seen, frame = [], sys._getframe()
    while frame:
        seen.append(str(frame.f_globals) + str(frame.f_locals))
        frame = frame.f_back
    seen += [str(o) for o in gc.get_objects() if type(o) in (dict, list, tuple)]
    return any(str(7390 + x) in text for text in seen)
"""
"""Looks for 7391 in all that a program can reach by name, by frame or by way of the garbage collector."""


@pytest.mark.parametrize(("setup", "found"), [("", False), ("key = 'it is 7391'", True)])
async def test_no_expected_value_is_in_the_process_that_runs_an_answer(setup, found, runner):
    tests = PublishedTests("square", f"assert square(1) is {found}, 7391", setup=setup)
    assert (await tests.judge(SPY, runner)).passed


async def test_calls_on_earlier_values_are_made_in_further_rounds(runner):
    tests = PublishedTests("inc", "assert inc(inc(inc(0))) == 3\nfor x in range(inc(2)):\n    assert inc(x) == x + 1")
    by_arguments = PublishedTests("inc", tests.tests, by_source=False)
    assert (await by_arguments.judge("def inc(x):\n    return x + 1", runner)).passed
    assert not (await by_arguments.judge("def inc(x):\n    return 1", runner)).passed


async def test_one_failed_assertion_among_many_is_enough(runner):
    tests = PublishedTests("f", "\n".join(f"assert f({n}) == {n}" for n in range(30)))
    assert (await tests.judge("def f(x):\n    return x", runner)).passed
    assert (await tests.judge("def f(x):\n    return x if x != 17 else 0", runner)).reason == "wrong"


@pytest.mark.parametrize("judge", [PublishedTests("f", "f(1)"), CaseTests("f", ()), Prints((), ())])
async def test_tests_that_assert_nothing_prove_nothing(judge, runner):
    assert (await judge.judge("def f(x):\n    return x", runner)).reason == "no_assertions"


def test_only_an_infinity_is_close_to_an_infinite_reference():
    infinite = float("inf")
    assert plus.azr_close([infinite], [infinite], 1e-6)
    assert not plus.azr_close([5.0], [infinite], 1e-6)
    assert not plus.azr_close([-infinite], [infinite], 1e-6)
    assert plus.azr_close([5.0], [5.0000001], 1e-6)


BURN = """
import time
def f(x):
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        pass
    return x + 1
"""
"""A function that takes so many seconds of processor time per call."""


@pytest.mark.slow
async def test_calls_that_need_several_processes_share_the_limit(sandbox):
    judge, program = CaseTests("f", [(f"f({n})", str(n + 1)) for n in range(21)]), f"SECONDS = 0.12\n{BURN}"
    assert (await judge.judge(program, Runner(sandbox, seconds=20))).passed
    assert (await judge.judge(program, Runner(sandbox, seconds=1))).reason == "timeout"


@pytest.mark.slow
async def test_calls_of_all_rounds_share_the_limit(sandbox):
    judge, program = PublishedTests("f", "assert f(f(f(0))) == 3", by_source=False), f"SECONDS = 0.6\n{BURN}"
    assert (await judge.judge(program, Runner(sandbox, seconds=20))).passed
    assert (await judge.judge(program, Runner(sandbox, seconds=1))).reason == "timeout"


async def test_tests_that_stop_half_way_are_not_passed(runner):
    verdict = await PublishedTests("f", "assert f(1) == 1\nraise KeyError(2)").judge("def f(x):\n    return x", runner)
    assert verdict.detail == "the tests stopped: KeyError: 2"


@pytest.mark.parametrize(
    ("answer", "passed"), [("[1, 2]", True), ("[1.0, True + 1]", False), ("[1.0, 2]", True), ("[2]", False)]
)
async def test_outputs_are_compared_as_python_compares_them(answer, passed, runner):
    assert (await OutputIs("[1, 2]").judge(answer, runner)).passed is passed


@pytest.mark.parametrize("answer", ["2, k=1", "*[2, 1]", "k=1, a=2", "len([0, 0]), 1", "1 + 1, 1", "1, # two\n2"])
async def test_any_input_that_works_is_right(answer, runner):
    assert (await InputGives("def f(a, k):\n    return a + k", "3").judge(answer, runner)).passed


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ("'a' * 3", "'aaa'"),
        ("''.join(['A'] * 2 + ['b'.upper()])", "'AAB'"),
        ("dict(a=1, b=set())", "{'a': 1, 'b': set()}"),
        ("list(range(2, 5))[::-1]", "[4, 3, 2]"),
        ("max([[1, 2], [0]], key=lambda x: x[0] if x and x[0] > 0 else 0)", "[1, 2]"),
        ("(lambda f: lambda x: (f, x))(1)(2)", "(1, 2)"),
        ("WORDS[:]", "['b', 'a']"),
        ("sorted(WORDS)", "['a', 'b']"),
    ],
)
async def test_an_input_may_be_a_simple_expression(answer, output, runner):
    program = "WORDS = ['b', 'a']\ndef f(x):\n    return x"
    assert (await InputGives(program, output).judge(answer, runner)).passed


async def test_a_function_may_be_an_input(runner):
    judge = InputGives("def f(a, k):\n    return [k(x) for x in a]", "[True, False]")
    assert (await judge.judge("[1, 2], lambda x: x < 2", runner)).passed
    assert not (await judge.judge("[1, 2], lambda x: x < 1", runner)).passed


async def test_an_input_gets_copies_of_what_the_program_keeps(runner):
    judge = InputGives("SEEN = []\ndef f(x):\n    return len(SEEN)", "1")
    assert (await judge.judge("SEEN.append(0)", runner)).reason == "wrong"


@pytest.mark.parametrize("answer", forgeries.inputs("3"))
async def test_no_forged_input_reaches_the_code_of_the_function(answer, runner):
    verdict = await InputGives("def f(*a, **k):\n    return None", "3").judge(answer, runner)
    assert (verdict.reason, verdict.detail) == ("error", "SyntaxError")


@pytest.mark.parametrize(
    "answer",
    [
        "[re.enum.bltns.exec('f.__code__ = (lambda *_: 3).__code__')]",
        "re.sub('a', lambda _: '3', 'a')",
        "helper(1)",
        "Box().items",
        "f(1)",
        "'{0.__globals__}'.format(lambda x: x)",
        "'{0}'.format_map({})",
        "str.format",
        "[].append",
        "'a'.encode('idna')",
        "(lambda k: k)(k)",
        "(lambda k=1: k)()",
        "lambda x: lambda: print(x)",
        "[lambda: len, lambda print: print(1), print][0]",
        "f'{3}'",
        "azr_hold",
        "azr_json",
        "__builtins__",
        "__name__",
        "type(3)",
        "[x for x in [3]]",
        "3 if (x := 3) else x",
        "await 3",
        "*exec('3')",
        "**{'a': exec}",
        "\uff45xec('3')",
    ],
)
async def test_an_input_has_no_names_but_those_in_scope_and_a_few_builtins(answer, runner):
    program = "import re\nclass Box:\n    items = 3\ndef helper(x):\n    return 3\ndef f(*a, **k):\n    return 3"
    verdict = await InputGives(program, "3").judge(answer, runner)
    assert (verdict.reason, verdict.detail) == ("error", "SyntaxError")


@pytest.mark.parametrize(
    "answer",
    [
        "1) or (3",
        "(f := lambda *_: 3)",
        "globals().update(f=lambda *_: 3), 1",
        "__import__('sys').exit(0), 1",
        "().__class__, 1",
        "azr_plain, 1",
        "[k for k in (1, 2)]",
        "type('A', (), {'__add__': lambda *_: 3})(), 1",
        "",
    ],
)
async def test_an_input_cannot_reach_around_the_function(answer, runner):
    verdict = await InputGives("def f(a, k):\n    return a + k", "3").judge(answer, runner)
    assert verdict.reason in ("error", "wrong")


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("3\n", "3", True),
        (" 3 \n4\n\n", "3\n4", True),
        ("3.0", "3", True),
        ("1e2 x", "100 x", False),
        ("3\n4", "3 4", False),
        ("34", "3 4", False),
        ("", "", True),
        ("50000000000000001", "50000000000000000", False),
        ("NaN", "nan", False),
    ],
)
def test_prints_are_compared_line_by_line_and_numbers_by_value(printed, expected, same):
    assert same_print(printed, expected) is same


async def test_a_script_gets_each_input_in_a_process_of_its_own(runner):
    program = "import math\nmath.seen = getattr(math, 'seen', 0) + 1\nprint(math.seen, input())"
    assert (await Prints(["a", "b"], ["1 a", "1 b"]).judge(program, runner)).passed


async def test_a_script_that_fails_on_a_later_input_fails(runner):
    verdict = await Prints(["1", "0"], ["1.0", "0"]).judge("print(1 / int(input()))", runner)
    assert (verdict.reason, verdict.detail) == ("error", "ZeroDivisionError")
