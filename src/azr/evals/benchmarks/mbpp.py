"""MBPP (Austin et al. 2021, arXiv 2108.07732): 974 short functions, each from a sentence and three assertions."""

import ast

from azr.evals.benchmarks.source import Hub, Record, loader
from azr.evals.judges import PublishedTests
from azr.evals.problems import Form, Problem

_HUB = "google-research-datasets/mbpp"
_SPLITS = ("prompt", "test", "validation", "train")
"""In the order of the task ids, as in the publisher's files."""
_IMPORTS = "import math\nimport re\nimport sys\n"
"""Modules that published assertions use but leave to the solution to import (596: sys.getsizeof)."""


def _problem(record: Record) -> Problem:
    text = record.get("text") or record["prompt"]
    tests = [*record["test_list"], *record.get("challenge_test_list", [])]
    shown = "\n".join(record["test_list"])
    imports = "\n".join(record.get("test_imports", []))
    entry = entry_of(record["code"], tests)
    return Problem(
        id=str(record["task_id"]),
        form=Form.PROGRAM,
        stem=f'"""\n{text}\n{shown}\n"""\n',
        request=f"{text} It has to pass these tests:\n\n```python\n{shown}\n```",
        gold=record["code"],
        judge=PublishedTests(
            entry,
            "\n".join(tests),
            prelude=f"{_IMPORTS}{imports}",
            setup=f"{imports}\n{record.get('test_setup_code', '')}",
        ),
        entry=entry,
        key="\n".join(tests),
    )


def entry_of(code: str, tests: list[str]) -> str:
    """The function that the first test calls: the outermost name in it that the reference solution defines."""
    defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(ast.parse(tests[0])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
            return node.func.id
    raise ValueError("no test calls a function that the reference solution defines")


load = loader("mbpp", ("mbpp.jsonl",), Hub(_HUB, "full", _SPLITS), _problem)
load_sanitized = loader("mbpp-sanitized", ("sanitized-mbpp.json",), Hub(_HUB, "sanitized", _SPLITS), _problem)
"""The 427 problems that the authors verified by hand."""
