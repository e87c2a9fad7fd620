"""Accuracy on tasks that training never sees, and of random guessing on the same tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azr.analysis.statistics import bootstrap_gain, bootstrap_mean, mean_of_kinds, wilson
from azr.analysis.text import in_points
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

    def summary(self) -> dict[str, Any]:
        """Accuracy and 95 % interval, by kind and as the mean of kinds, and the marks that they come from."""
        kinds = {
            kind: {"accuracy": sum(marks) / len(marks), "interval": wilson(sum(marks), len(marks)), "tasks": len(marks)}
            for kind, marks in self.correct.items()
        }
        mean = {"accuracy": mean_of_kinds(self.correct), "interval": bootstrap_mean(self.correct)}
        return {"mean": mean, "kinds": kinds, "marks": self.correct}


def gain(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """How much the mean of kinds rose between two summaries of the same tasks, with its paired 95 % interval."""
    rise = after["mean"]["accuracy"] - before["mean"]["accuracy"]
    return {"accuracy": rise, "interval": bootstrap_gain(before["marks"], after["marks"])}


def in_words(summary: Mapping[str, Any]) -> str:
    """A summary in one line: accuracy and interval; the gain where it has one; what a random guess reaches."""
    low, high = summary["mean"]["interval"]
    parts = [f"{summary['mean']['accuracy']:.1%} ({low:.1%} to {high:.1%})"]
    if "gain" in summary:
        parts.append(f"{in_points(summary['gain']['accuracy'], summary['gain']['interval'])} on the untrained model")
    return ", ".join([*parts, f"a random guess {summary['guess']:.1%}"])


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
