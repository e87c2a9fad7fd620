"""HumanEval+ and MBPP+ (Liu et al. 2023, arXiv 2305.01210), from EvalPlus's own JSONL files.

The files hold inputs. Expected outputs are those of the reference solution, which runs in the sandbox like any other
program. Outputs are compared as in EvalPlus 0.3 (tolerances, sets, a few functions with several correct answers); see
`azr.evals.inside.plus`.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from azr.evals.benchmarks.source import Record, loader
from azr.evals.judges import ReferenceTests
from azr.evals.problems import Form, Problem


def _problem(record: Record, form: Form) -> Problem:
    entry, prompt, solution = record["entry_point"], record["prompt"], record["canonical_solution"]
    restore = _restorer(record["task_id"])
    inputs = [restore(arguments) for arguments in (*record["base_input"], *(record["plus_input"] or ()))]
    calls = [f"{entry}({', '.join(map(repr, arguments))})" for arguments in inputs]
    settings = {"family": "humaneval" if form is Form.BODY else "mbpp", "entry": entry, "atol": record["atol"]}
    return Problem(
        id=record["task_id"],
        form=form,
        stem=prompt,
        request=f"Write this Python function.\n\n```python\n{prompt}```",
        gold=solution,
        judge=ReferenceTests(entry, calls, prompt + solution, json.dumps(settings)),
        entry=entry,
        key=record.get("assertion") or "\n".join(calls),
    )


def _restorer(task: str) -> Callable[[list[Any]], list[Any]]:
    """The function that restores the Python types of a task's arguments, as EvalPlus does; JSON only has lists."""
    family, _, number = task.partition("/")
    found = (restore for restore, numbers in _RESTORE.items() if family == "Mbpp" and int(number) in numbers)
    return next(found, list)


def _nested_tuples(value: Any) -> Any:
    return tuple(_nested_tuples(item) for item in value) if isinstance(value, list) else value


_RESTORE: dict[Callable[[list[Any]], list[Any]], frozenset[int]] = {
    lambda given: list(map(tuple, given)): frozenset(
        (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809)
    ),
    lambda given: [list(map(tuple, argument)) for argument in given]: frozenset(
        (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)
    ),
    lambda given: [list(map(tuple, given[0])), *given[1:]]: frozenset((75, 413, 444, 753)),
    lambda given: [given[0], tuple(given[1]), *given[2:]]: frozenset((106, 750)),
    lambda given: [[set(item) if isinstance(item, list) and item else {} for item in given[0]]]: frozenset((115,)),
    lambda given: [float(given[0]), complex(given[1])]: frozenset((124,)),
    lambda given: [tuple(given[0]), *given[1:]]: frozenset((250, 307, 405, 446, 617, 720, 763, 808)),
    lambda given: [tuple(map(tuple, argument)) for argument in given]: frozenset((259, 401, 445)),
    lambda given: [tuple(tuple(item) if isinstance(item, list) else item for item in given[0])]: frozenset((278,)),
    lambda given: [{key: tuple(item) for key, item in given[0].items()}, *given[1:]]: frozenset((722,)),
    lambda given: [complex(given[0])]: frozenset((252,)),
    _nested_tuples: frozenset((580, 615, 791)),
}

load_humaneval = loader(
    "humaneval+",
    ("HumanEvalPlus.jsonl", "HumanEvalPlus.jsonl.gz"),
    None,
    partial(_problem, form=Form.BODY),
)
"""164 problems."""
load_mbpp = loader("mbpp+", ("MbppPlus.jsonl", "MbppPlus.jsonl.gz"), None, partial(_problem, form=Form.PROGRAM))
"""378 problems."""
