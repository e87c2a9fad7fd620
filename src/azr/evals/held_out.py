"""Accuracy on tasks that training never sees, and of random guessing on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from azr.concurrency import gather
from azr.domains.base import Domain
from azr.rollout.base import Sampling
from azr.sandbox.base import Sandbox
from azr.selfplay.parts import Parts
from azr.streams import stream
from azr.types import Kind, Task, Verdict


@dataclass(frozen=True, slots=True)
class Answered:
    """A held-out task, what was answered, and the verdict."""

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


async def evaluate(tasks: Sequence[Task], parts: Parts, *, max_prompt_tokens: int, max_new_tokens: int) -> HeldOut:
    """Answer every task once at temperature 0. One whose prompt is too long counts as not solved."""
    domain, sampling = parts.domain, Sampling(max_new_tokens, temperature=0.0)

    async def answer(index: int, task: Task) -> Answered:
        prompt = parts.render(domain.solve_prompt(task))
        if prompt.length > max_prompt_tokens:
            return Answered(task, "", Verdict(False, 0.0, "prompt_too_long"))
        (sample,) = await parts.generator.sample(prompt, n=1, key=f"held-out/{index:05d}", sampling=sampling)
        return Answered(task, sample.text, await domain.verify(task, sample.text, parts.sandbox))

    return HeldOut(tuple(await gather(answer(index, task) for index, task in enumerate(tasks))))


async def guess(tasks: Sequence[Task], domain: Domain, sandbox: Sandbox, *, seed: int) -> HeldOut:
    """The line to beat: every task is answered with the gold answer of another task of its kind, drawn blindly."""

    async def answer(index: int, task: Task) -> Answered:
        others = [other for other in tasks if other.kind == task.kind and other.id != task.id]
        if not others:
            return Answered(task, "", Verdict(False, 0.0, "no_guess"))
        other = others[int(stream(seed, "guess", index).integers(len(others)))]
        text = domain.gold(other)
        return Answered(task, text, await domain.verify(task, text, sandbox))

    return HeldOut(tuple(await gather(answer(index, task) for index, task in enumerate(tasks))))
