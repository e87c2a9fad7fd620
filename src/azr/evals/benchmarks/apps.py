"""APPS (Hendrycks et al. 2021, arXiv 2105.09938): 5,000 contest problems, by standard input or function.

Read from the hub's `test.jsonl`, or from the folders of the original archive: `APPS/test/0000/` with `question.txt`,
`input_output.json`, `solutions.json`, `metadata.json` and, for some, `starter_code.py`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from azr.errors import UserError
from azr.evals.benchmarks.contest import problem
from azr.evals.benchmarks.source import Hub, Record, read
from azr.evals.problems import Benchmark, Problem

_HUB = Hub("codeparrot/apps", files=("test.jsonl",))
_OPTIONAL = {"solutions": "solutions.json", "input_output": "input_output.json", "starter_code": "starter_code.py"}


def load(data: Path | None) -> Benchmark:
    """Read the test split. Problems that were published without tests cannot be judged and are left out."""
    sys.set_int_max_str_digits(0)  # some tests hold integers of many thousand digits
    folders = [data / name for name in ("APPS/test", "test") if (data / name).is_dir()] if data else []
    records = _records(folders[0]) if folders else read("apps", data, ("apps.jsonl", "test.jsonl"), _HUB)
    problems, errata = [], {}
    for record in records:
        tests = json.loads(record["input_output"] or "{}")
        if tests.get("outputs"):
            problems.append(_problem(record, tests))
        else:
            errata[str(record["problem_id"])] = "published without tests"
    return Benchmark("apps", problems, errata)


def _records(folder: Path) -> Iterator[Record]:
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            yield {
                "problem_id": int(path.name),
                "question": _text(path / "question.txt"),
                "difficulty": json.loads(_text(path / "metadata.json"))["difficulty"],
                **{name: _text(path / file) if (path / file).is_file() else "" for name, file in _OPTIONAL.items()},
            }
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path}: not a problem of APPS: {error}") from None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _problem(record: Record, tests: dict[str, Any]) -> Problem:
    solutions = json.loads(record["solutions"] or "[]")
    function, outputs = tests.get("fn_name"), tests["outputs"]
    if function is not None:
        # APPS wraps the value of a function in a list of one.
        outputs = [output[0] if isinstance(output, list) and len(output) == 1 else output for output in outputs]
    return problem(
        name=str(record["problem_id"]),
        question=record["question"].strip(),
        starter=record.get("starter_code") or "",
        function=function,
        inputs=tests["inputs"],
        outputs=outputs,
        gold=solutions[0] if solutions else "",
        group=record["difficulty"],
    )
