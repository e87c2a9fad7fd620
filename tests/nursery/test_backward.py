"""From a program's output back to an input, one step of its execution after another."""

import ast

from nursery.backward import backward
from nursery.trace import execute


def names_of(program):
    names = {}
    exec(program, names)
    return names


def test_a_thought_in_full():
    program = "def f(a, b):\n    c = a - b\n    if c < 0:\n        c += 3\n    return c * 3"
    assert backward(execute(program, [2, 17])) == (
        "return -36: c * 3, c = -12",
        "c = -12: c + 3, c = -15",
        "if True: -15 < 0",
        "c = -15: a - b, a = 2, b = 17",
    )


def test_loops_go_backwards_over_their_items():
    program = "def f(a):\n    c = 0\n    for x in a:\n        c += x\n    return c"
    assert backward(execute(program, [[5, 2]])) == (
        "return 7: c, c = 7",
        "c = 7: c + x, c = 5, x = 2",
        "x = 2: a[1], a = [5, 2]",
        "c = 5: c + x, c = 0, x = 5",
        "x = 5: a[0]",
        "c = 0: 0",
    )


def test_a_call_of_the_helper_is_one_step():
    program = "def g(x):\n    return x * 2\ndef f(a):\n    return g(a) + 1"
    assert backward(execute(program, [4])) == ("return 9: g(a) + 1, a = 4",)


def test_what_nothing_came_of_is_left_out():
    program = "def f(a):\n    c = a + 1\n    c = a * 2\n    return c"
    assert backward(execute(program, [4])) == ("return 8: c, c = 8", "c = 8: a * 2, a = 4")


def test_every_step_came_from_what_it_read(pool):
    for specimen in pool:
        names = names_of(specimen.program)
        for run in specimen.runs:
            for step in run.steps:
                assert eval(ast.unparse(step.node), names | step.reads) == step.value


def test_a_thought_names_every_argument_that_the_output_depends_on(pool):
    for specimen in pool:
        for run in specimen.runs:
            thought = "\n".join(backward(run))
            assert thought.startswith(f"return {run.output}: ")
            read = {name for step in run.steps for name in step.reads}
            assert not read & {"a", "b"} or any(f"{name} = " in thought for name in ("a", "b"))


def test_every_value_that_a_line_explains_was_found_in_a_line_before(pool):
    for specimen in pool:
        for run in specimen.runs:
            found = []
            for line in backward(run):
                head = line.split(": ")[0]
                assert " = " not in head or any(f", {head}" in earlier for earlier in found)
                found.append(line)
            assert len(found) <= len(run.steps)
