"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): contest problems by date, and output prediction on solutions.

Generation is read from the publisher's `test.jsonl`, `test2.jsonl`, ... (`code_generation_lite`), execution from
`execution-v2`. Private tests may be packed: base64 of a zlib-compressed pickle of one string.
"""

import base64
import io
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

from azr.errors import UserError
from azr.evals.benchmarks.contest import problem
from azr.evals.benchmarks.cruxeval import output_problem
from azr.evals.benchmarks.source import Hub, Record, loader, read, read_file
from azr.evals.problems import Benchmark, Problem

_FILES = ("test.jsonl", *(f"test{number}.jsonl" for number in range(2, 7)))


def load_generation(data: Path | None) -> Benchmark:
    """Read all releases in the folder (or in its subfolder `livecodebench`), or those on the hub."""
    if data is None:
        records = read("livecodebench", None, _FILES, Hub("livecodebench/code_generation_lite", files=_FILES))
    else:
        folder = data / "livecodebench" if (data / "livecodebench").is_dir() else data
        found = [name for name in _FILES if (folder / name).is_file()]
        if not found:
            raise UserError(f"--data {data}: no {_FILES[0]} there, nor in {data / 'livecodebench'}")
        records = [record for name in found for record in read_file(folder / name)]
    return Benchmark("livecodebench", [_generation_problem(record) for record in records])


load_execution = loader(
    "livecodebench-execution",
    ("livecodebench-execution.jsonl", "execution.jsonl", "execution-v2.jsonl"),
    Hub("livecodebench/execution-v2"),
    lambda record: output_problem(record, record["input"], record["function_name"]),
)


def _generation_problem(record: Record) -> Problem:
    tests = json.loads(record["public_test_cases"]) + _unpacked(record["private_test_cases"])
    function = json.loads(record["metadata"] or "{}").get("func_name")
    inputs, outputs = [test["input"] for test in tests], [test["output"] for test in tests]
    if function is not None:  # one argument per line, as JSON
        inputs = [[json.loads(line) for line in text.split("\n")] for text in inputs]
        outputs = [json.loads(text) for text in outputs]
    return problem(
        name=record["question_id"],
        question=record["question_content"].strip(),
        starter=record["starter_code"] or "",
        function=function,
        inputs=inputs,
        outputs=outputs,
        gold=record.get("solution", ""),
        group=record["difficulty"],
    )


def _unpacked(text: str) -> list[dict[str, Any]]:
    try:
        tests: list[dict[str, Any]] = json.loads(text)
    except ValueError:
        packed = zlib.decompress(base64.b64decode(text))
        tests = json.loads(_StringUnpickler(io.BytesIO(packed)).load())
    return tests


class _StringUnpickler(pickle.Unpickler):
    """Reads pickles of plain data and refuses those that import anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"private tests name {module}.{name}, where only a string is expected")
