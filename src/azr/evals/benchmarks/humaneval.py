"""HumanEval (Chen et al. 2021, arXiv 2107.03374): 164 functions to complete from signature and docstring."""

from azr.evals.benchmarks.source import Hub, Record, loader
from azr.evals.judges import PublishedTests
from azr.evals.problems import Form, Problem


def _problem(record: Record) -> Problem:
    entry, prompt = record["entry_point"], record["prompt"]
    # The prompt is also the prelude of the tests: they call helpers from it, and the tested function by name.
    tests = f"{record['test']}\ncheck({entry})\n"
    return Problem(
        id=record["task_id"],
        form=Form.BODY,
        stem=prompt,
        request=f"Complete this Python function.\n\n```python\n{prompt}```",
        gold=record["canonical_solution"],
        judge=PublishedTests(entry, tests, prelude=prompt, by_source=False),
        entry=entry,
        key=record["test"],
    )


load = loader("humaneval", ("HumanEval.jsonl", "HumanEval.jsonl.gz"), Hub("openai/openai_humaneval"), _problem)
