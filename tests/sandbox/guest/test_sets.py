"""Sets have the order that CPython gives them, by every route: where hashes collide, it tells how a set was built."""

import subprocess
import sys

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from azr.sandbox import Job
from azr.sandbox.host.exchange import HASH_SEEDS

PLACES = (
    "list({})",
    "sorted({}, key=lambda e: 0)",
    "max({}, key=lambda e: 0)",
    "{}.pop()",
    "[*{}]",
    "(lambda a, *rest: (a, rest))(*{})",
    "(lambda s={}: list(s))()",
    "[[e for e in s] for s in ({}, 1)[:1]]",
    "list(dict.fromkeys({}))",
    "list({} | {{99, 107}})",
    "list({{99, 107}} | {})",
    "list({} - {{8}})",
    "list(frozenset({}))",
    "[e for e in {}]",
    "[e for e in frozenset({})]",
    "'-'.join(map(repr, {}))",
    "repr([({},)])",
    "next(iter({}))",
    "[e in {} for e in (0, 8, '8', 1.0)]",
)
"""What a program may do with a set display."""

# No None: its hash is its address, which another process need not share before Python 3.12.
ELEMENTS = st.recursive(
    st.integers(-3, 40).map(lambda n: 8 * n)
    | st.integers(-3, 9)
    | st.sampled_from([0.5, 8.0, -0.0, 2**61, True, "", "a", "b", "8", b"8"]),
    lambda inner: st.tuples(inner, inner),
    max_leaves=3,
)
DISPLAYS = st.lists(ELEMENTS, min_size=1, max_size=9).map(lambda elements: "{" + ", ".join(map(repr, elements)) + "}")


def printed(program, arguments, seed):
    """Give what a plain interpreter prints of a call."""
    code = f"{program}\nprint(repr(f({arguments})))"
    return subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, text=True).rstrip("\n")


async def same_as_cpython(box, program, arguments=""):
    first, second = (printed(program, arguments, seed) for seed in HASH_SEEDS)
    (once,) = await box.run(Job(program, (arguments,)))
    assert once.value == first
    (pair,) = await box.run(Job(program, (arguments,), determinism=True))
    assert pair.value == (first if first == second else None)


@pytest.mark.parametrize("place", PLACES)
async def test_a_display_of_colliding_numbers_is_what_it_is_in_cpython(box, place):
    await same_as_cpython(box, f"def f(): return {place.format(*['{8, 0, 16}'] * 2)}")


@pytest.mark.parametrize("arguments", ["{8, 0, 16}", "[(1, {8, 0, 16})]", "{1: frozenset({8, 0, 16})}"])
async def test_a_set_in_an_input_is_what_it_is_in_a_call(box, arguments):
    await same_as_cpython(box, "def f(x): return repr(x)", arguments)


async def test_a_default_that_a_lean_program_shares_with_one_that_imports_is_the_same(box):
    displays = "def f(a={8, 0, 16}, b=({32, 0, 64, 96},)): return list(a), list(b[0])"
    await same_as_cpython(box, displays)
    await same_as_cpython(box, f"import decimal\n{displays}")


@settings(max_examples=15, phases=[Phase.generate])  # shrinking starts two interpreters for each attempt
@given(
    cases=st.lists(st.tuples(DISPLAYS, st.sampled_from(PLACES)), min_size=30, max_size=30), inputs=st.lists(DISPLAYS)
)
async def test_random_displays_are_what_they_are_in_cpython(box, cases, inputs):
    body = "".join(f"    found.append({place.format(display)})\n" for display, place in cases)
    program = f"def f(*sets):\n    found = [list(s) for s in sets]\n{body}    return found"
    await same_as_cpython(box, program, ", ".join(inputs))
