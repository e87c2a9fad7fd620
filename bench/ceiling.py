"""The oracle gate: what can a base model do at its best, and does more training on longer programs lift it at all?

For each held-out set of deduction tasks:
- the ceiling, the best of three: attempts that are free, attempts that are made to think, and the majority of many
  that are made to think. Self-play has to pass this line before it has taught the model anything new;
- the share of trace lines that are the first wrong one, by their position;
- pass@k at temperature 1.
Then the model is trained further on the interpreter's own traces of longer programs (gold), with as many documents
about short ones, and measured again. A base that gold traces do not lift is not worth a self-play run.

    python bench/ceiling.py [--model nursery] [--language nursery] [--quick] [--out FILE]

Prints one JSON line per measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # before this folder, whose nursery.py is not the package
from bases import LANGUAGES, Language

from azr.analysis.statistics import pass_at_k, wilson
from azr.concurrency import gather
from azr.config import GenerationConfig, ModelConfig, SandboxConfig
from azr.domains.answers import MalformedError, answer_of
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import load_held_out
from azr.models.load import LanguageModel, load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox
from azr.selfplay.parts import Parts
from azr.types import DEDUCTION, Task
from nursery.steps.train import Plan, train

VOTERS = 32
"""Samples of which the majority answers."""
MARGIN = 16
"""Tokens that an attempt may have beyond the longest gold attempt of its set."""
REPLAY = 0.5
"""Share of documents about short programs in further training: one after each about a longer one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A text, and whether its answer is right."""

    text: str
    passed: bool

    @property
    def answer(self) -> str:
        """The answer; empty if there is none."""
        try:
            return answer_of(self.text)
        except MalformedError:
            return ""


class Subject:
    """A model that attempts tasks of a language."""

    def __init__(self, policy: LanguageModel, language: Language, box: Sandbox) -> None:
        self.policy, self.language, self.box = policy, language, box
        settings = SandboxConfig(wall_seconds=1.0, cpu_seconds=1, output_bytes=256)
        generator = LocalGenerator(policy, GenerationConfig(overlap=False), seed=0)
        domain = PythonDomain(language.style, settings)
        self._parts = Parts(domain, generator, box, policy.renderer(chat=False))
        self._judged: dict[tuple[str, str], bool] = {}

    def limit(self, tasks: Sequence[Task]) -> int:
        """Tokens for an attempt at any of the tasks; no gold attempt is cut."""
        return max(len(self.policy.encode(self.language.gold(task))) for task in tasks) + MARGIN

    async def attempts(self, tasks: Sequence[Task], opening: str, temperature: float, n: int) -> list[list[Attempt]]:
        """N attempts at each task, each with `opening` put in the model's mouth."""
        sampling = Sampling(self.limit(tasks), temperature)
        return await gather(self._attempt(task, opening, sampling, n) for task in tasks)

    async def _attempt(self, task: Task, opening: str, sampling: Sampling, n: int) -> list[Attempt]:
        parts = self._parts
        prompt = parts.render(parts.domain.solve_prompt(task) + opening)
        drawn = await parts.generator.sample(
            prompt, n=n, key=f"{opening}/{sampling.temperature}/{task.id}", sampling=sampling
        )
        found = []
        for sample in drawn:
            attempt = Attempt(opening + sample.text, False)
            key = task.id, attempt.answer
            if key not in self._judged:  # equal answers get equal verdicts
                verdict = await parts.domain.verify(task, attempt.text, parts.sandbox)
                self._judged[key] = verdict.passed
            found.append(Attempt(attempt.text, self._judged[key]))
        return found


def accuracy(marks: Sequence[bool]) -> dict[str, Any]:
    """Share of right attempts in percent, with its 95 % interval."""
    low, high = wilson(sum(marks), len(marks))
    return {"accuracy": percent(sum(marks) / len(marks)), "interval": [percent(low), percent(high)]}


def percent(share: float) -> float:
    return round(100 * share, 2)


def majority(attempts: Sequence[Attempt]) -> bool:
    """Whether the most frequent answer is right; the earliest of equally frequent ones counts."""
    answered = [attempt for attempt in attempts if attempt.answer]
    if not answered:
        return False
    chosen, _ = Counter(attempt.answer for attempt in answered).most_common(1)[0]
    return next(attempt.passed for attempt in answered if attempt.answer == chosen)


def line_errors(golds: Sequence[str], texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each line of the gold attempts: how many attempts got there without an error, and how many err there.

    A line that is missing counts as wrong. The last line includes the answer.
    """
    reached: Counter[int] = Counter()
    wrong: Counter[int] = Counter()
    for gold, text in zip(golds, texts, strict=True):
        written = _lines(text)
        for position, line in enumerate(_lines(gold), 1):
            reached[position] += 1
            if position > len(written) or written[position - 1] != line:
                wrong[position] += 1
                break
    return [
        {"line": position, "reached": count, "wrong": wrong[position], "rate": percent(wrong[position] / count)}
        for position, count in sorted(reached.items())
    ]


def _lines(text: str) -> list[str]:
    return re.sub(r"^<think>(  # \d+)?\n?", "", text).split("\n")  # what begins a trace is not a line of it


async def measure(subject: Subject, tasks: Sequence[Task], samples: int, sampled: int) -> dict[str, Any]:
    """Everything about one set.

    The ceiling is the better of free and thinking attempts at all tasks, plus what a majority gains over the better of
    them at the tasks that were sampled.

    Args:
        subject: the model.
        tasks: of the set.
        samples: attempts per task for pass@k and majority.
        sampled: tasks that get so many, at most.
    """
    language = subject.language
    free, thinks = [
        [a for (a,) in await subject.attempts(tasks, opening, 0.0, 1)] for opening in ("", language.opening)
    ]
    drawn = await subject.attempts(tasks[:sampled], language.opening, 1.0, samples)
    right = [sum(attempt.passed for attempt in attempts) for attempts in drawn]
    powers = [2**power for power in range(samples.bit_length())]
    lines = line_errors([language.gold(task) for task in tasks], [attempt.text for attempt in thinks])
    ways = {
        "free": accuracy([attempt.passed for attempt in free]),
        "thinks": accuracy([attempt.passed for attempt in thinks]),
    }
    voted = accuracy([majority(attempts[:VOTERS]) for attempts in drawn])
    alone = max(accuracy([a.passed for a in way[: len(drawn)]])["accuracy"] for way in (free, thinks))
    best = max(way["accuracy"] for way in ways.values())
    passes = {str(k): percent(sum(pass_at_k(samples, one, k) for one in right) / len(right)) for k in powers}
    all_reached = sum(line["reached"] for line in lines)
    return {
        "tasks": len(tasks),
        "sampled tasks": len(drawn),
        "ceiling": round(best + max(voted["accuracy"] - alone, 0.0), 2),
        **ways,
        f"majority of {min(VOTERS, samples)}": voted,
        "single attempts at the same tasks": alone,
        "pass@k": passes,
        "first error per line": percent(sum(line["wrong"] for line in lines) / max(all_reached, 1)),
        "lines": lines,
    }


async def lift(
    subject: Subject, tasks: dict[str, list[Task]], budget: int, lr: float, batch: int, checkpoint: Path | None
) -> list[dict[str, Any]]:
    """Train a copy further on gold attempts and measure it on each set, thinking, at temperature 0.

    Args:
        subject: the model; not changed.
        tasks: of each set.
        budget: tokens of gold documents about longer programs, prompts included.
        lr: peak learning rate.
        batch: documents per update, of which half are about longer programs.
        checkpoint: file from which interrupted training goes on; None for none.
    """
    policy, language = subject.policy, subject.language
    longer = islice(language.documents(True, random.Random("length")), 100)
    mean = sum(len(policy.encode("".join(text for text, _ in document))) for document in longer) / 100
    updates = max(round(budget / (mean * batch * (1 - REPLAY))), 1)
    model = copy.deepcopy(policy.model).float()
    plan = Plan(steps=updates, batch=batch, lr=lr, warmup=max(updates // 10, 1), seed=1)
    tokens = train(
        model,
        policy.tokenizer,
        language.source,
        plan,
        checkpoint=checkpoint,
        report=lambda line: print(line, file=sys.stderr),
    )
    trained = LanguageModel(
        policy.name, model, policy.tokenizer, policy.eos_ids, policy.prefix_ids, policy.context_length
    )
    pupil = Subject(trained, language, subject.box)
    rows = []
    for name, chosen in tasks.items():
        marks = [a.passed for (a,) in await pupil.attempts(chosen, language.opening, 0.0, 1)]
        rows.append({"set": name, "gold tokens": budget, "updates": updates, "tokens": tokens, **accuracy(marks)})
    return rows


async def run(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, print and return all rows."""
    language = LANGUAGES[asked.language]
    policy = load_model(ModelConfig(name=asked.model, device="cpu", dtype="float32"))
    box, rows = make_sandbox(), []

    def tell(row: dict[str, Any]) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)

    try:
        subject = Subject(policy, language, box)
        tasks = {name: load_held_out(name, (DEDUCTION,), asked.tasks) for name in asked.sets or language.sets}
        ceilings = {}
        for name, chosen in tasks.items():
            found = await measure(subject, chosen, asked.samples, asked.sampled)
            ceilings[name] = found["ceiling"]
            tell({"set": name, **found})
        for budget in asked.gold:
            checkpoint = asked.checkpoints / f"gold-{budget}.pt" if asked.checkpoints else None
            for row in await lift(subject, tasks, budget, asked.lr, asked.batch, checkpoint):
                tell({**row, "lift over ceiling": round(row["accuracy"] - ceilings[row["set"]], 2)})
    finally:
        await box.close()
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `--quick` changes the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nursery", help="a model that ships, or a folder")
    parser.add_argument("--language", choices=list(LANGUAGES), default="nursery", help="what it was trained on")
    parser.add_argument("--quick", action="store_true", help="fewer tasks, samples and gold tokens: a first look")
    parser.add_argument("--sets", nargs="*", help="held-out sets; default: all of the language")
    parser.add_argument("--tasks", type=int, help="tasks per set (300; quick: 60)")
    parser.add_argument("--samples", type=int, help="attempts per task for pass@k, a power of two (128; quick: 32)")
    parser.add_argument("--sampled", type=int, help="tasks per set that get these (100; quick: 20)")
    parser.add_argument("--gold", type=int, nargs="*", help="budgets in tokens (200000 1000000; quick: 200000)")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate of further training")
    parser.add_argument("--batch", type=int, default=8, help="documents per update, half of them about short programs")
    parser.add_argument("--checkpoints", type=Path, help="folder from which interrupted further training goes on")
    parser.add_argument("--out", type=Path, help="write all rows to this JSON file too")
    asked = parser.parse_args(words)
    defaults = (60, 32, 20, [200_000]) if asked.quick else (300, 128, 100, [200_000, 1_000_000])
    for name, value in zip(("tasks", "samples", "sampled", "gold"), defaults, strict=True):
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    return asked


if __name__ == "__main__":
    torch.set_num_threads(1)
    asyncio.run(run(parse()))
