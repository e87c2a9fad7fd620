"""The oracle gate for abduction and induction: do search, and more training on known answers, lift a model?

For each kind, on a held-out set:
- single attempts at temperature 0: free, made to answer directly, and made to think;
- attempts that search (`selfplay.search`), at temperature 1, with more and more guesses: how many are right, how many
  passed the model's own check, and how many of these are right.
Then a copy of the model is trained further on inductions about new programs of its language, answered directly (gold),
and measured again. What known answers do not lift, learning answers that were found by searching will not lift either.

    python bench/induction.py [--model nursery] [--tasks 300] [--guesses 1 4 8] [--updates 300] [--lr 1e-3]

Prints one JSON line per measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # before this folder, whose nursery.py is not the package
from ceiling import accuracy

from azr.concurrency import gather
from azr.config import Config, GenerationConfig, ModelConfig, SandboxConfig, SearchConfig, SelfPlayConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import load_held_out
from azr.models import shipped
from azr.models.load import LanguageModel, load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox
from azr.selfplay.parts import Parts
from azr.selfplay.records import Attempts, Stopwatch
from azr.selfplay.solve import Solver
from azr.types import ABDUCTION, INDUCTION, Task
from nursery.corpus import fresh
from nursery.documents import STYLE, Mix, Piece, documents
from nursery.grammar import specimens
from nursery.heldout import excluded_forms
from nursery.steps.train import Plan, train

OPENINGS = {"free": "", "directly": "<answer>", "thinks": "<think>\n"}
"""What is put into the model's mouth."""
LIMITS = GenerationConfig(max_prompt_tokens=512, max_solve_tokens=256, overlap=False)
BATCH = 32
"""Documents per update in further training."""
ONLY_INDUCTION = Mix(trace=0, backward=0, deduction=0, abduction=0, induction=1, propose=0, think=0)


def known_answers(rng: random.Random) -> Iterator[Sequence[Piece]]:
    """Inductions without end about programs that are in no held-out set; there is no loss on prompts."""
    for specimen in fresh(specimens(rng.random().hex()), excluded_forms()):
        for document in documents([specimen], ONLY_INDUCTION, rng):
            yield [(document.prompt, 0.0), *document.answer]


async def singles(parts: Parts, tasks: Sequence[Task], opening: str) -> list[bool]:
    """Whether each single attempt at temperature 0, begun with `opening`, is right."""

    async def attempt(task: Task) -> bool:
        prompt = parts.render(parts.domain.solve_prompt(task) + opening)
        sampling = Sampling(LIMITS.max_solve_tokens, temperature=0.0)
        (sample,) = await parts.generator.sample(prompt, n=1, key=f"{opening}{task.id}", sampling=sampling)
        return (await parts.domain.verify(task, opening + sample.text, parts.sandbox)).passed

    return await gather(attempt(task) for task in tasks)


async def searches(parts: Parts, tasks: Sequence[Task], guesses: int) -> list[Attempts]:
    """One attempt at each task with so many guesses, as self-play makes it."""
    config = Config(
        model=ModelConfig(name="measured"),
        domain=STYLE,
        selfplay=SelfPlayConfig(search=SearchConfig(guesses=guesses)),
        generation=LIMITS,
    )
    solver = Solver(config, parts)
    return await gather(solver.attempt(task, f"search/{task.id}", Stopwatch(), n=1, learnt=False) for task in tasks)


def parts_of(policy: LanguageModel, sandbox: Sandbox) -> Parts:
    """What the model is played with."""
    domain = PythonDomain(STYLE, SandboxConfig(wall_seconds=1.0, cpu_seconds=1, output_bytes=256))
    return Parts(domain, LocalGenerator(policy, LIMITS, seed=0), sandbox, policy.renderer(chat=False))


async def measure(parts: Parts, tasks: Mapping[str, Sequence[Task]], guesses: Sequence[int]) -> None:
    """Print single attempts, and searches with each number of guesses."""
    for kind, chosen in tasks.items():
        for way, opening in OPENINGS.items():
            show({"kind": kind, "single attempts": way, **accuracy(await singles(parts, chosen, opening))})
        for count in guesses:
            found = await searches(parts, chosen, count)
            agreed = [one for one in found if one.searches and one.searches[0].agreed]
            row = {"kind": kind, "guesses": count, **accuracy([one.verdicts[0].passed for one in found])}
            if agreed:
                row["passed own check"] = len(agreed)
                row["right of these"] = sum(one.verdicts[0].passed for one in agreed)
            show(row)


def show(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


async def run(asked: argparse.Namespace) -> None:
    """Measure, train further, measure again."""
    policy = load_model(ModelConfig(name=shipped.resolve(asked.model), device="cpu", dtype="float32"))
    sandbox = make_sandbox()
    try:
        tasks = {kind: load_held_out(asked.set, (kind,), asked.tasks) for kind in (ABDUCTION, INDUCTION)}
        await measure(parts_of(policy, sandbox), tasks, asked.guesses)
        if asked.updates:
            plan = Plan(steps=asked.updates, batch=BATCH, lr=asked.lr, optimizer="adamw", seed=1)
            tokens = train(policy.model, policy.tokenizer, known_answers, plan, report=lambda line: None)
            policy.model.eval()
            show({"gold tokens": tokens, "updates": asked.updates, "lr": asked.lr})
            await measure(parts_of(policy, sandbox), {INDUCTION: tasks[INDUCTION]}, ())
    finally:
        await sandbox.close()


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nursery", help="a model that ships, or a folder")
    parser.add_argument("--set", default="nursery-iid", help="held-out set")
    parser.add_argument("--tasks", type=int, default=300, help="of each kind")
    parser.add_argument("--guesses", type=int, nargs="*", default=[1, 4, 8], help="numbers of guesses per search")
    parser.add_argument("--updates", type=int, default=300, help=f"on {BATCH} known answers each; 0: none")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of further training")
    return parser.parse_args(words)


if __name__ == "__main__":
    torch.set_num_threads(1)
    asyncio.run(run(parse()))
