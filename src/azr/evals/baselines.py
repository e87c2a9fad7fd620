"""What one reaches without reasoning: the lines to beat, on the very tasks that a model is measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from azr.concurrency import gather
from azr.domains.base import Domain
from azr.evals.held_out import Answered, HeldOut
from azr.sandbox.base import Sandbox
from azr.types import Kind, Task

CANDIDATES = 32
"""Answers of each kind that are tried as constants: the most frequent gold ones."""


async def best_constant(
    tasks: Sequence[Task], domain: Domain, sandbox: Sandbox, *, candidates: int = CANDIDATES
) -> HeldOut:
    """Answer every task of a kind with one and the same text: the gold answer, of those tasks, that does best.

    It is chosen with the tasks' gold answers in view, so that no constant that could be learnt does better, but for
    answers that are right without being gold (another input that works, another prime that divides).

    Args:
        tasks: of any kinds.
        domain: which poses and verifies them.
        sandbox: for the domain.
        candidates: texts tried for each kind, the most frequent first.
    """
    chosen: dict[Kind, list[Answered]] = {}
    for kind in dict.fromkeys(task.kind for task in tasks):
        mine = [task for task in tasks if task.kind == kind]
        frequent = Counter(domain.gold(task) for task in mine).most_common(candidates)
        tried = [await _constant(mine, text, domain, sandbox) for text, _ in frequent]
        chosen[kind] = max(tried, key=lambda answers: sum(answer.verdict.passed for answer in answers))
    rows = {kind: iter(answers) for kind, answers in chosen.items()}
    return HeldOut(tuple(next(rows[task.kind]) for task in tasks))


async def _constant(tasks: Sequence[Task], text: str, domain: Domain, sandbox: Sandbox) -> list[Answered]:
    async def answer(task: Task) -> Answered:
        return Answered(task, text, await domain.verify(task, text, sandbox))

    return list(await gather(answer(task) for task in tasks))
