"""What can the nursery's base model do? Accuracy with and without thinking, and proposals, on the held-out sets.

Every task is attempted freely, with an answer straight away (`<answer>` is put in its mouth) and thinking (`<think>`
is). The difference of the last two, and how often it thinks when free, say how much self-play has to find.

    python bench/nursery.py [--model FOLDER] [--set nursery-iid] [--tasks 100] [--temperatures 0 1] [--samples 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from azr.analysis.statistics import wilson
from azr.concurrency import gather
from azr.config import GenerationConfig, ModelConfig, SandboxConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.syntax import read
from azr.domains.python.tasks import load_held_out
from azr.models.load import load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.sandbox.factory import make_sandbox
from azr.selfplay.parts import Parts
from azr.types import ABDUCTION, DEDUCTION, Task
from nursery.build import FOLDER
from nursery.documents import STYLE
from nursery.heldout import KINDS

MODES = {"free": "", "answers": "<answer>", "thinks": "<think>\n"}
LIMITS = {"solve": 256, "propose": 200}


async def attempt(
    task: Task, mode: str, temperature: float, samples: int, parts: Parts
) -> list[tuple[bool, bool, int, str]]:
    """Attempts at one task: whether it passed, whether it thought, tokens, reason."""
    opening = MODES[mode]
    drawn = await parts.generator.sample(
        parts.render(parts.domain.solve_prompt(task) + opening),
        n=samples,
        key=f"{mode}/{temperature}/{task.id}",
        sampling=Sampling(LIMITS["solve"], temperature),
    )
    texts = [opening + sample.text for sample in drawn]
    verdicts = [await parts.domain.verify(task, text, parts.sandbox) for text in texts]
    return [
        (verdict.passed, text.startswith("<think>"), len(sample.completion_ids), verdict.reason)
        for verdict, text, sample in zip(verdicts, texts, drawn, strict=True)
    ]


async def propose(kind: str, references: Sequence[Task], number: int, parts: Parts) -> tuple[str, str | None]:
    """One proposal at temperature 1: the verdict's reason, and the shape of what was accepted."""
    prompt = parts.domain.propose_prompt(kind, references, np.random.default_rng(number))
    key, sampling = f"propose/{kind}/{number}", Sampling(LIMITS["propose"])
    (sample,) = await parts.generator.sample(parts.render(prompt.text), n=1, key=key, sampling=sampling)
    proposal = await parts.domain.validate(prompt, sample.text, parts.sandbox)
    return proposal.verdict.reason, proposal.task and read(proposal.task.data["program"]).shape


async def measure(arguments: argparse.Namespace) -> None:
    """Print one JSON line a setting."""
    settings = SandboxConfig(wall_seconds=1.0, cpu_seconds=1, output_bytes=256)
    policy = load_model(ModelConfig(name=arguments.model))
    generator = LocalGenerator(policy, GenerationConfig(overlap=False), seed=0)
    box = make_sandbox()
    parts = Parts(PythonDomain(STYLE, settings), generator, box, policy.renderer(chat=False))
    tasks = load_held_out(arguments.set, KINDS, arguments.tasks)
    try:
        for temperature in arguments.temperatures:
            for kind in KINDS:
                for mode in MODES:
                    chosen = [task for task in tasks if task.kind == kind]
                    count = arguments.samples if temperature else 1
                    answered = await gather(attempt(task, mode, temperature, count, parts) for task in chosen)
                    rows = [row for rows in answered for row in rows]
                    print(
                        json.dumps(
                            {"set": arguments.set, "temperature": temperature, "kind": kind, "mode": mode}
                            | summary(rows)
                        )
                    )
        for kind in KINDS:
            print(json.dumps({"propose": kind} | await proposals(kind, tasks, arguments.tasks, parts)))
    finally:
        await box.close()


def summary(rows: list[tuple[bool, bool, int, str]]) -> dict[str, object]:
    passed = sum(row[0] for row in rows)
    return {
        "accuracy": round(passed / len(rows), 3),
        "interval": [round(bound, 3) for bound in wilson(passed, len(rows))],
        "thinks": round(sum(row[1] for row in rows) / len(rows), 3),
        "tokens": round(sum(row[2] for row in rows) / len(rows), 1),
        "reasons": dict(Counter(row[3] for row in rows).most_common(5)),
    }


async def proposals(kind: str, tasks: Sequence[Task], count: int, parts: Parts) -> dict[str, object]:
    rng = np.random.default_rng(0)
    pool = [task for task in tasks if task.kind in (DEDUCTION, ABDUCTION)]
    size = 2 if kind != "induction" else 1
    references = [[pool[i] for i in rng.choice(len(pool), size, replace=False)] for _ in range(count)]
    made = await gather(propose(kind, drawn, number, parts) for number, drawn in enumerate(references))
    accepted = [shape for reason, shape in made if reason == "accepted"]
    return {
        "valid": round(len(accepted) / count, 3),
        "interval": [round(bound, 3) for bound in wilson(len(accepted), count)],
        "distinct_shapes": len(set(accepted)),
        "reasons": dict(Counter(reason for reason, _ in made).most_common(6)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(FOLDER))
    parser.add_argument("--set", default="nursery-iid")
    parser.add_argument("--tasks", type=int, default=100, help="of each kind, and proposals of each kind")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--samples", type=int, default=1, help="attempts at each task at temperatures above 0")
    torch.set_num_threads(1)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
