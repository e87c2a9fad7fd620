"""Accuracy on tasks that training never sees, of a model, of a random guess and of the best constant answer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from azr.concurrency import gather
from azr.domains.base import Domain, length_of
from azr.rollout.base import Sampling
from azr.sandbox.base import Sandbox
from azr.selfplay.parts import Parts
from azr.streams import stream
from azr.types import Kind, Task, Verdict

CANDIDATES = 32
"""Answers of each kind that are tried as constants: the most frequent gold ones."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A held-out task, its answer, and the verdict."""

    task: Task
    text: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The outcome of one evaluation, in the order of the tasks."""

    answers: tuple[Answered, ...]

    @property
    def correct(self) -> dict[Kind, list[int]]:
        """1 or 0 for every task, by kind."""
        marks: dict[Kind, list[int]] = {}
        for answered in self.answers:
            marks.setdefault(answered.task.kind, []).append(int(answered.verdict.passed))
        return marks

    def lengths(self, domain: Domain) -> dict[Kind, list[int | None]]:
        """The length of every task, by kind; None if the domain does not measure it."""
        lengths: dict[Kind, list[int | None]] = {}
        for answered in self.answers:
            lengths.setdefault(answered.task.kind, []).append(length_of(domain, answered.task))
        return lengths


async def evaluate(tasks: Sequence[Task], parts: Parts, *, max_prompt_tokens: int, max_new_tokens: int) -> HeldOut:
    """Answer every task once at temperature 0. A task whose prompt is too long counts as not solved."""
    domain, sampling = parts.domain, Sampling(max_new_tokens, temperature=0.0)

    async def answer(index: int, task: Task) -> Answered:
        prompt = parts.render(domain.solve_prompt(task))
        if prompt.length > max_prompt_tokens:
            return Answered(task, "", Verdict(False, 0.0, "prompt_too_long"))
        (sample,) = await parts.generator.sample(prompt, n=1, key=f"held-out/{index:05d}", sampling=sampling)
        return Answered(task, sample.text, await domain.verify(task, sample.text, parts.sandbox))

    return HeldOut(tuple(await gather(answer(index, task) for index, task in enumerate(tasks))))


async def guess(tasks: Sequence[Task], domain: Domain, sandbox: Sandbox, *, seed: int) -> HeldOut:
    """Answer every task with the gold answer of another task of its kind, drawn at random."""
    texts: list[str | None] = []
    for index, task in enumerate(tasks):
        others = [other for other in tasks if other.kind == task.kind and other.id != task.id]
        drawn = int(stream(seed, "guess", index).integers(len(others))) if others else 0
        texts.append(domain.gold(others[drawn]) if others else None)
    return await _verified(zip(tasks, texts, strict=True), domain, sandbox)


async def best_constant(tasks: Sequence[Task], domain: Domain, sandbox: Sandbox) -> HeldOut:
    """Answer all tasks of a kind with the same text: the gold answer, among the `CANDIDATES`, that does best.

    It is chosen with the gold answers in view. So no constant that a model could learn does better, except answers that
    are correct without being gold (another input that works, another prime that divides).
    """
    answers = {}
    for kind in dict.fromkeys(task.kind for task in tasks):
        mine = [task for task in tasks if task.kind == kind]
        frequent = Counter(domain.gold(task) for task in mine).most_common(CANDIDATES)
        tried = [await _verified(((task, text) for task in mine), domain, sandbox) for text, _ in frequent]
        best = max(tried, key=lambda found: sum(answered.verdict.passed for answered in found.answers))
        answers[kind] = iter(best.answers)
    return HeldOut(tuple(next(answers[task.kind]) for task in tasks))


async def _verified(answers: Iterable[tuple[Task, str | None]], domain: Domain, sandbox: Sandbox) -> HeldOut:
    async def verify(task: Task, text: str | None) -> Answered:
        if text is None:
            return Answered(task, "", Verdict(False, 0.0, "no_guess"))
        return Answered(task, text, await domain.verify(task, text, sandbox))

    return HeldOut(tuple(await gather(verify(task, text) for task, text in answers)))
