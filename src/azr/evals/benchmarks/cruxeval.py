"""CRUXEval (Gu et al. 2024, arXiv 2401.03065): 800 functions; predict the output, or find an input that gives it."""

from azr.evals.benchmarks.source import Hub, Record, loader
from azr.evals.judges import InputGives, OutputIs
from azr.evals.problems import Form, Problem

_SOURCE = ("cruxeval.jsonl",), Hub("cruxeval-org/cruxeval")


def output_problem(record: Record, call: str, entry: str) -> Problem:
    """Ask what a call of the record's code returns; LiveCodeBench has such problems too."""
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


load_output = loader("cruxeval-o", *_SOURCE, lambda record: output_problem(record, f"f({record['input']})", "f"))
load_input = loader("cruxeval-i", *_SOURCE, _input_problem)
