"""What the code beside the program makes of programs and inputs, without any jail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.sandbox.guest.worker import imported_modules, outcomes, plain_imports, second_order

FORBIDDEN = ("os", "random")


def run(program, *inputs, **changes):
    request = {
        "program": program,
        "inputs": inputs,
        "entry": "f",
        "mode": "call",
        "forbidden_modules": FORBIDDEN,
        "program_bytes": 2000,
        "output_bytes": 1000,
        "depth": 8,
        "memory_bytes": 256 * 2**20,
    }
    return [record["value"] or record["error"] or record["reason"] for record in outcomes(request | changes)]


def test_each_input_has_its_own_outcome():
    program = "def f(x, y=2):\n    return 1 / x if y else None"
    assert run(program, "4", "0", "x=1, y=0", "x", "1, 2, 3", "") == [
        *("0.25", "ZeroDivisionError", "None", "bad_input", "TypeError", "TypeError"),
    ]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(:", "syntax"),
        ("return 1", "syntax"),
        ("x = 1\0", "syntax"),
        ("x = '\ud800'", "syntax"),
        ("x = 1", "no_entry"),
        ("f = 1", "no_entry"),
        ("def g(): pass", "no_entry"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("#" * 2001, "forbidden"),
        ("# " + "\u00e9" * 1000, "forbidden"),
    ],
)
def test_a_program_that_cannot_be_called_fails_for_every_input(program, reason):
    assert run(program, "1", "2") == [reason, reason]


@pytest.mark.parametrize(
    "line",
    [
        *("import os", "import os.path", "import re, os as o", "from os import path", "from os.path import join"),
        *("__import__('os')", "__import__(name='os.path')", "import importlib\nimportlib.import_module('os')"),
        *("from importlib import import_module\nimport_module('random')", "if 0:\n    def g():\n        import random"),
        *("import re,os", "import\tos", "\fimport os", "import math\rimport os", "import math; import os", "if 1: import os"),
        *("import re, \\\n os", "from \\\n os import path", "import re # import os\nimport os", "from re import (I,\n M); import os"),
        *("import builtins\nbuiltins.__import__('os')", "import \uff4fs", "__\uff49mport__('os')", "__import__('\\x6fs')"),
    ],
)  # fmt: skip
def test_forbidden_modules_are_found_in_every_spelling(line):
    assert run(f"{line}\ndef f(): pass", "") == ["forbidden"]


@pytest.mark.parametrize(
    "line",
    [
        "import re",
        "from . import os",
        "x = 'import os'  # import os",
        "import osx_like",
        "os = 1",
        "'''\nimport os\n'''",
    ],
)
def test_programs_that_only_look_forbidden_run(line):
    assert run(f"{line}\ndef f(): return 1", "")[0] in ("1", "ModuleNotFoundError", "ImportError", "ImportWarning")


PIECES = [
    "import os",
    "import re, os",
    "from os import path",
    "import",
    "from",
    "as o",
    "(",
    ")",
    ";",
    "#",
    "\\",
    "'''",
    "'",
]


@given(
    st.lists(st.sampled_from([*PIECES, "\n", "\r", "\f", "\t", " ", "x = 1", "if 1:", "."]), max_size=12).map("".join)
)
def test_no_import_is_missed_where_no_tree_is_made(program):
    try:
        named = imported_modules(program)
    except SyntaxError:
        return
    found = plain_imports(program)
    assert found is None or set(named) <= set(found)


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("import re, os.path\n  from a.b import c as d, e  # f\nimport math#", ["re", "os.path", "a.b", "math"]),
        ("x = 1", []),
        ("import re as r", None),
        ("import re; x = 1", None),
        ("important = 1", None),
        ("import re  # é", None),
    ],
)
def test_imports_on_lines_of_their_own_are_found_without_a_tree(program, names):
    assert plain_imports(program) == names


def test_a_call_gets_values_of_its_own():
    assert run("def f(x):\n    x.append(1)\n    return x", "[]", "[]") == ["[1]", "[1]"]


def test_a_program_is_not_main_when_its_function_is_called():
    assert run("def f(): return __name__\nif __name__ == '__main__': 1 / 0", "") == ["'program'"]


def test_dataclasses_find_the_module_that_they_are_in():
    program = "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\ndef f(): return A(3).x"
    assert run(program, "") == ["3"]


def test_values_that_are_no_plain_data_and_values_that_are_too_large():
    assert run("def f(x): return f if x else 'a' * 2000", "1", "0") == ["unsupported_value", "output_too_large"]


def test_memory_error_is_a_reason_of_its_own():
    assert run("def f(): raise MemoryError", "") == ["memory"]


def test_literals_are_brought_to_canonical_text():
    texts = ("{2, 1}", "{'b': 1, 'a': 1e999}", "[1,2 ]", "f(1)", "1j", "'" + "a" * 2000 + "'", " -0.0 ")
    assert run("", *texts, mode="literal") == [
        *("{1, 2}", "{'a': 1e999, 'b': 1}", "[1, 2]", "bad_input", "unsupported_value", "output_too_large", "-0.0"),
    ]


def test_the_interpreter_is_left_as_it_was_found():
    run("import sys\nsys.setrecursionlimit(99999)\nsys.set_int_max_str_digits(700)\ndef f(): return 10**800", "")
    import sys

    assert sys.getrecursionlimit() < 99999
    sys.set_int_max_str_digits(4300)


def test_what_a_message_says_is_one_short_printable_line():
    records = execute_all("def f(): raise ValueError('a\\n\\x00b' + 'c' * 999)")
    assert records[0]["detail"].isprintable()
    assert len(records[0]["detail"]) == 200


def execute_all(program):
    request = {
        "program": program,
        "inputs": ("",),
        "entry": "f",
        "mode": "call",
        "forbidden_modules": (),
        "program_bytes": 2000,
        "output_bytes": 1000,
        "depth": 8,
    }
    return list(outcomes(request))


@given(st.integers(2, 100))
def test_no_input_has_the_same_place_in_the_second_process(count):
    order = second_order(count)
    assert sorted(order) == list(range(count))
    assert all(place != number for place, number in enumerate(order))


@pytest.mark.parametrize(
    ("count", "order"), [(0, []), (1, [0]), (2, [1, 0]), (3, [1, 2, 0]), (4, [3, 2, 1, 0]), (5, [2, 4, 3, 1, 0])]
)
def test_the_order_of_the_second_process(count, order):
    assert second_order(count) == order
