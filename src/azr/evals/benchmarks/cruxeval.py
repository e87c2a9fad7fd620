"""CRUXEval (Gu et al. 2024, arXiv 2401.03065): 800 functions; predict the output, or find an input that gives it."""

from __future__ import annotations

from pathlib import Path

from azr.evals.benchmarks.source import Hub, Record, read
from azr.evals.judges import InputGives, OutputIs
from azr.evals.problems import Benchmark, Form, Problem

FILES = ("cruxeval.jsonl",)
HUB = Hub("cruxeval-org/cruxeval")


def load_output(data: Path | None) -> Benchmark:
    """Output prediction, from `cruxeval.jsonl` or from the hub."""
    records, source = read("cruxeval-o", data, FILES, HUB)
    return Benchmark("cruxeval-o", [output_problem(record, f"f({record['input']})", "f") for record in records], source)


def load_input(data: Path | None) -> Benchmark:
    """Input prediction, from the same records."""
    records, source = read("cruxeval-i", data, FILES, HUB)
    return Benchmark("cruxeval-i", [_input_problem(record) for record in records], source)


def output_problem(record: Record, call: str, entry: str) -> Problem:
    """A problem that asks what a call of the record's code returns; LiveCodeBench has the same."""
    code = record["code"]
    return Problem(
        id=record["id"],
        form=Form.OUTPUT,
        stem=f"{code}\n\nassert {call} == ",
        request=f"What does this call return?\n\n```python\n{code}\n```\n\nThe call: `{call}`",
        gold=record["output"],
        judge=OutputIs(record["output"]),
        entry=entry,
        key=record["output"],
        group=record.get("difficulty") or "",
    )


def _input_problem(record: Record) -> Problem:
    code, output = record["code"], record["output"]
    return Problem(
        id=record["id"],
        form=Form.INPUT,
        stem=f"{code}\n\nassert {output} == f(",
        request=f"Find arguments for which `f` returns `{output}`.\n\n```python\n{code}\n```",
        gold=record["input"],
        judge=InputGives(code, output),
        entry="f",
        key=output,
    )
