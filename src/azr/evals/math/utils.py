"""Scoring for the tasks of this folder, with the string normalisation that lm-eval uses for AIME and MATH."""

from typing import Any


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, int]:
    """Whether a completion gives the answer, or one of several that are published. Called by lm-eval."""
    from lm_eval.tasks.aime.utils import process_results as score

    answers = doc["final_answer"] if "final_answer" in doc else [doc["answer"]]
    return {"exact_match": max(score({"answer": str(answer).strip("$")}, results)["exact_match"] for answer in answers)}
