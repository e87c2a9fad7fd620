"""What the trusted side reads off a program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.domains.answers import RejectedError
from azr.domains.python.syntax import calls_helper, extended, helper_of, joined, read, similarity

LOOP = "def f(items):\n    total = 0\n    for item in items:\n        total += item * 2\n    return total"
RENAMED = 'def f(xs):\n    """Doubles."""\n    s = 0\n    for x in xs:\n        s += x * 2\n    return s'
OTHER_CONSTANT = LOOP.replace("2", "3")


def test_names_and_docstrings_do_not_change_the_normal_form():
    assert read(LOOP).normal == read(RENAMED).normal


def test_constants_change_the_normal_form():
    assert read(LOOP).normal != read(OTHER_CONSTANT).normal


def test_constants_do_not_change_the_shape():
    assert read(LOOP).shape == read(OTHER_CONSTANT).shape


def test_builtins_and_modules_keep_their_names():
    assert read("def f(x):\n    return len(x)").normal != read("def f(x):\n    return sum(x)").normal
    assert read("import math\ndef f(x):\n    return math.floor(x)").normal.startswith("import math")


@pytest.mark.parametrize(
    ("program", "complexity"),
    [
        ("def f(x):\n    return x + 1", 1),
        (LOOP, 2),
        ("def f(x):\n    if x and x > 1 or x < -1:\n        return 1\n    return 0", 4),
        ("def f(x):\n    return [y for y in x if y if y > 2]", 4),
        ("def f(x):\n    return 1 if x else 2", 2),
    ],
)
def test_complexity_is_mccabes_number(program, complexity):
    assert read(program).complexity == complexity


@pytest.mark.parametrize(
    ("program", "length"),
    [
        ("def f(x):\n    return x", 0),
        ("def f(a, b):\n    a = a + 1\n    b = b - a\n    return [a, b]", 2),
        ("def f(a):\n    a += 1; a *= 2\n    return a", 2),
        (LOOP, 3),
        (RENAMED, 3),
        ("def f(x):\n    if x:\n        return 1\n    return 0", 1),
        ("import math\n\ndef g(x):\n    y = x + 1\n    return y\n\ndef f(x):\n    z = g(x)\n    return z", 3),
    ],
)
def test_length_counts_statements_but_neither_functions_nor_returns(program, length):
    assert read(program).length == length


@pytest.mark.parametrize(
    ("program", "form"),
    [
        ("def f(x):\n    return x", "identity"),
        ("def f(a, b):\n    return b", "identity"),
        ("def f(x):\n    return 3", "constant"),
        ("def f(x):\n    y = 2\n    return y * y", "constant"),
        ("def f(x):\n    return x + 1", None),
        (LOOP, None),
    ],
)
def test_degenerate_programs_are_named(program, form):
    assert read(program).trivial == form


def test_a_program_is_wholly_like_itself():
    assert similarity(read(LOOP).grams, read(LOOP).grams) == 1.0


def test_likeness_is_symmetric_and_less_for_other_programs():
    one, other = read(LOOP).grams, read("def f(s):\n    return s.upper()").grams
    assert 0 <= similarity(one, other) == similarity(other, one) < 0.5


def test_a_program_that_nests_too_deep_is_refused():
    with pytest.raises(RejectedError, match="too_deep"):
        read("def f(x):\n    return " + "+".join(["x"] * 5000))


@pytest.mark.parametrize("program", ["def f(x):\n    return x ?? 1", "def f(x):\n    return 0x" + "f" * 4000, "\0"])
def test_a_program_that_cannot_be_parsed_or_written_is_refused(program):
    with pytest.raises(RejectedError, match="unreadable"):
        read(program)
    with pytest.raises(RejectedError, match="unreadable"):
        calls_helper(program + "\n?")


def test_a_helper_is_renamed_wherever_it_is_called():
    helper = helper_of("def f(n):\n    return 1 if n < 2 else n * f(n - 1)")
    assert helper == "def g(n):\n    return 1 if n < 2 else n * g(n - 1)"


@pytest.mark.parametrize("program", ["x = 1\ndef f(a):\n    return x", "def f(a):\n    g = a\n    return g"])
def test_a_program_with_names_of_its_own_is_no_helper(program):
    assert helper_of(program) is None


@pytest.mark.parametrize(
    ("program", "expected"), [("def f(x):\n    return g(x) + 1", True), ("def f(x):\n    return x\ng(1)", False)]
)
def test_a_composite_has_to_call_its_helper_within_the_entry(program, expected):
    assert calls_helper("def g(x):\n    return x\n\n" + program) is expected


@given(st.integers(-50, 50), st.sampled_from(["+", "-", "*"]))
def test_the_normal_form_is_a_fixed_point(constant, operator):
    normal = read(f"def f(apple):\n    pear = apple {operator} {constant}\n    return pear").normal
    assert read(normal).normal == normal


SWAP = "def f(a, b):\n    a, b = b, a\n    return [a, b]"
ADD = "import math\n\ndef f(a, b):\n    a = a + b\n    return [a, b]"


def test_lines_are_inserted_before_the_return_with_its_indentation():
    assert (
        extended(SWAP, "  if a:\n      b = 1")
        == "def f(a, b):\n    a, b = b, a\n    if a:\n        b = 1\n    return [a, b]"
    )


@pytest.mark.parametrize("lines", ["return a", "    a = 1\n    return [a, b]", "raise ValueError"])
def test_lines_that_leave_the_function_do_not_extend_a_program(lines):
    assert extended(SWAP, lines) is None


def test_lines_that_leave_the_function_on_a_condition_extend_it():
    assert "if a:" in extended(SWAP, "if a:\n    return b")


@pytest.mark.parametrize(
    "program",
    [
        "def f(a): return a",
        "def f(a):\n    a += 1; return a",
        "def f(a):\n    if a:\n        return 1",
        "def f(a):\r    return a",
        "f = lambda a: a",
    ],
)
def test_a_program_without_a_return_on_a_line_of_its_own_at_the_end_cannot_be_extended(program):
    assert extended(program, "a = 1") is None


def test_joined_programs_run_one_after_the_other():
    scope = {}
    exec(joined(SWAP, ADD.removeprefix("import math\n\n")), scope)
    assert scope["f"](1, 20) == [21, 1]


@pytest.mark.parametrize(
    ("returned", "assigned", "results"),
    [
        ("[b, a]", "    a, b = b, a\n", [1, 20]),
        ("(a + b, 7)", "    a, b = a + b, 7\n", [7, 21]),
        ("[a, b]", "", [20, 1]),
    ],
)
def test_results_in_another_order_or_computed_are_assigned_to_the_parameters(returned, assigned, results):
    whole = joined(f"def f(a, b):\n    return {returned}", SWAP)
    assert whole == f"def f(a, b):\n{assigned}    a, b = b, a\n    return [a, b]"
    exec(whole, scope := {})
    assert scope["f"](1, 20) == results


def test_a_program_without_statements_can_be_joined_on_either_side():
    empty = "def f(a, b):\n    return [a, b]"
    assert joined(empty, SWAP) == joined(SWAP, empty) == SWAP


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ADD, SWAP),
        (SWAP, ADD),
        (SWAP.replace("[a, b]", "[a]"), SWAP),
        (SWAP.replace("[a, b]", "[*a, b]"), SWAP),
        (SWAP.replace("[a, b]", "a"), SWAP),
        (SWAP, SWAP.replace("(a, b)", "(a, c)")),
        (SWAP, "def f(a, b): return [a, b]"),
    ],
)
def test_programs_that_do_not_fit_together_are_not_joined(first, second):
    assert joined(first, second) is None
