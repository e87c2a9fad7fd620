"""Programs and their traces, against CPython."""

import ast
import random
from itertools import islice

import pytest

from nursery.grammar import specimens
from nursery.hints import hint
from nursery.mutate import altered_program
from nursery.trace import UnsupportedError, execute


def run(program, arguments):
    names = {}
    exec(program, names)
    return repr(eval(f"f({arguments})", names))


def test_the_same_seed_gives_the_same_programs_and_runs(pool):
    assert list(islice(specimens("tests"), 20)) == pool[:20]


def test_another_seed_gives_other_programs(pool):
    assert not set(islice(specimens("other"), 20)) & set(pool[:20])


def test_results_are_those_of_cpython(pool):
    for specimen in pool:
        for execution in specimen.runs:
            assert run(specimen.program, execution.input) == execution.output, specimen.program


def test_every_equality_in_a_trace_holds(pool):
    """`c = 3 + 4 = 7`: the last two members of a chain of numbers are equal, whatever the variable held before."""
    checked = 0
    for line in {line for specimen in pool for execution in specimen.runs for line in execution.lines}:
        members = line.removeprefix("if ").removeprefix("while ").removeprefix("return ").split(" = ")
        if len(members) > 1 and not any(isinstance(n, ast.Name) for n in ast.walk(ast.parse(members[-2]))):
            assert eval(members[-2], {}) == ast.literal_eval(members[-1]), line
            checked += 1
    assert checked > 200


def test_a_trace_ends_with_the_result(pool):
    for specimen in pool:
        for execution in specimen.runs:
            assert execution.lines[-1].startswith("return ")
            assert execution.lines[-1].endswith(execution.output)


def test_inputs_of_a_program_are_distinct(pool):
    assert all(len({execution.input for execution in specimen.runs}) == 7 for specimen in pool)


def test_no_program_is_constant_or_the_identity_on_most_inputs(pool):
    for specimen in pool:
        outputs = [execution.output for execution in specimen.runs]
        assert max(outputs.count(output) for output in outputs) <= 5
        assert sum(execution.output == execution.input for execution in specimen.runs) <= 3


def test_a_trace_in_full():
    program = (
        "def g(x):\n    return x * 2\n"
        "def f(a, b):\n    c = g(a) + 1\n    for x in b:\n        if x > 3 and x < 9:\n            c += x\n"
        "    b = [x for x in b if x > 3]\n    b.append(c - 1)\n    return sum(b) - c"
    )
    execution = execute(program, [4, [2, 5]])
    assert execution.trace.split("\n") == [
        "g(4)",
        "return 4 * 2 = 8",
        "c = g(4) + 1 = 8 + 1 = 9",
        "x = 2",
        "if 2 > 3 and 2 < 9 = False and True = False",
        "x = 5",
        "if 5 > 3 and 5 < 9 = True and True = True",
        "c = 9 + 5 = 14",
        "b = [5]",
        "14 - 1 = 13",
        "b = [5, 13]",
        "sum: 5, 18",
        "return sum(b) - 14 = 18 - 14 = 4",
    ]
    assert (execution.input, execution.output) == ("4, [2, 5]", "4")


def test_arguments_are_left_as_they_were():
    argument = [1, 2]
    execute("def f(a):\n    a.append(3)\n    return a", [argument])
    assert argument == [1, 2]


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        ("def f(a):\n    while a > 0:\n        a += 1\n    return a", 1),
        ("def f(a):\n    return a * 50", 9),
        ("def f(a):\n    return a[7]", [1]),
        ("def f(a):\n    return 3 // a", 0),
    ],
)
def test_what_loops_raises_or_grows_has_no_execution(program, argument):
    assert execute(program, [argument]) is None


def test_more_of_python_than_the_language_is_refused():
    with pytest.raises(UnsupportedError, match="import os"):
        execute("def f(a):\n    import os\n    return a", [1])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("def f(a):\n    return a", "const"),
        ("def f(a):\n    c = a * 2\n    if c > 9:\n        c -= a % 3\n    return c", "mul if gt sub mod"),
        ("def f(a):\n    return sorted([x + 1 for x in a if x > 2])[::-1]", "sorted map add filter gt reversed"),
        ("def f(a):\n    return a[0].upper() if 'x' in a else a[1:]", "if in index upper slice"),
    ],
)
def test_hints_name_the_operations_without_their_numbers(program, words):
    assert " ".join(hint(program)) == words


def test_an_altered_program_differs_in_one_place():
    program = "def f(a):\n    return max(a, 3) + 4"
    altered = {altered_program(program, random.Random(seed)) for seed in range(40)}
    assert "def f(a):\n    return min(a, 3) + 4" in altered
    assert "def f(a):\n    return max(a, 3) - 4" in altered
    assert "def f(a):\n    return max(a, 5) + 4" in altered
    assert program not in altered
