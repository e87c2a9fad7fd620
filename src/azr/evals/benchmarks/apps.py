"""APPS (Hendrycks et al. 2021, arXiv 2105.09938): 5,000 contest problems, by standard input or by function.

Read from the hub's `test.jsonl`, or from the folders of the original archive: `APPS/test/0000/` with `question.txt`,
`input_output.json`, `solutions.json`, `metadata.json` and, for some, `starter_code.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from azr.errors import UserError
from azr.evals.benchmarks.contest import problem
from azr.evals.benchmarks.source import Hub, Record, read
from azr.evals.problems import Benchmark, Problem

FILES = ("apps.jsonl", "test.jsonl")
HUB = Hub("codeparrot/apps", files=("test.jsonl",))


def load(data: Path | None) -> Benchmark:
    """Read the test split. Problems that were published without tests cannot be judged, and are left out."""
    sys.set_int_max_str_digits(0)  # some tests hold integers of many thousand digits
    folder = (
        None if data is None else next((data / name for name in ("APPS/test", "test") if (data / name).is_dir()), None)
    )
    if folder is None:
        records, source = read("apps", data, FILES, HUB)
    else:
        records, source = list(_folders(folder)), folder.name
    tested = [record for record in records if _has_tests(record)]
    without = [str(record["problem_id"]) for record in records if not _has_tests(record)]
    errata = dict.fromkeys(without, "published without tests")
    return Benchmark("apps", [_problem(record) for record in tested], source, errata)


def _has_tests(record: Record) -> bool:
    return bool(record["input_output"] and json.loads(record["input_output"])["outputs"])


def _folders(folder: Path) -> Iterator[Record]:
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            yield {
                "problem_id": int(path.name),
                "question": (path / "question.txt").read_text(encoding="utf-8"),
                "difficulty": json.loads((path / "metadata.json").read_text(encoding="utf-8"))["difficulty"],
                **{name: _text(path / file) for name, file in _OPTIONAL.items()},
            }
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path}: not a problem of APPS: {error}") from None


_OPTIONAL = {"solutions": "solutions.json", "input_output": "input_output.json", "starter_code": "starter_code.py"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _problem(record: Record) -> Problem:
    tests = json.loads(record["input_output"])
    solutions = json.loads(record["solutions"] or "[]")
    function = tests.get("fn_name")
    outputs = tests["outputs"]
    if function is not None:
        # Publishers wrapped what a function returns in a list of one.
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
