"""Does self-play on primes hold what was claimed of it? Five runs of the preset, five whose proposer does not learn.

    python bench/primes.py run [--runs FOLDER] [--seeds 0 1 2 3 4] [KEY=VALUE ...]    trains what is missing, collects
    python bench/primes.py collect [--runs FOLDER]                                    from finished runs
    python bench/primes.py verdict                                                    prints what the data say

`collect` writes docs/data/primes.json: of every run the marks of its held-out tasks at each evaluation (solver), and
for every step and kind what became of the proposals (proposer). `bench/primes_figure.py` draws it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arms import main

from azr import settings
from azr.analysis.statistics import bootstrap_gain, with_interval
from azr.concurrency import gather
from azr.config import Config, ModelConfig
from azr.domains import registry
from azr.domains.base import Domain
from azr.evals.held_out import Answered, HeldOut, best_constant, guess
from azr.models import shipped
from azr.models.load import load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.run.directory import read_jsonl
from azr.sweep.folder import finished
from azr.types import Kind, Task

TABLE = Path(__file__).parent.parent / "docs" / "data" / "primes.json"
ARMS = {"self-play": [], "frozen-proposer": ["selfplay.train_proposer=false"]}
"""What is compared, and the settings that make it so."""
MEASURES = ("reward", "valid", "slips", "strays", "learnability", "solve_rate", "thinks")
"""By step and kind: the proposer's mean reward; the shares of its proposals that are accepted, that are slips (a number
that is not prime or out of range) and that stray (begin a thought, as attempts do); learnability and solve rate of the
new tasks; the share of attempts that think."""
EDGE = 20
"""Steps at the start and at the end of training that are compared."""


# From runs to data


def collect(folder: Path) -> dict[str, Any]:
    """Everything that the verdict and the figure need; an arm without a finished run is left out."""
    runs = {arm: [path for (setting, _), path in finished(folder).items() if setting == arm] for arm in ARMS}
    path = runs["self-play"][0]
    config = settings.build(settings.read(str(path / "config.toml")), registry.config_class, source=str(path))
    return {
        "configuration": config.model_dump(mode="json", exclude={"output_dir", "seed"}),
        "lines": asyncio.run(lines(config)),
        "measures": MEASURES,
        "arms": {arm: [curves(path) for path in paths] for arm, paths in runs.items() if paths},
    }


def curves(path: Path) -> dict[str, Any]:
    """Of one run: the marks of every evaluation, and by kind the measures and the accepted primes of every step."""
    records = list(read_jsonl(path / "metrics.jsonl"))
    steps = [record for record in records if "kinds" in record]
    kinds = list(steps[0]["kinds"])
    proposals, thoughts = written(path)
    return {
        "seed": settings.read(str(path / "config.toml"))["seed"],
        "seconds": round(sum(step["seconds"]["step"] for step in steps), 1),
        "held_out": [
            {"step": record["step"]} | {kind: "".join(map(str, of)) for kind, of in record["held_out"]["marks"].items()}
            for record in records
            if "held_out" in record
        ],
        "training": {
            kind: [
                measures(proposals[step["step"], kind], thoughts[step["step"], kind], step["kinds"][kind])
                for step in steps
            ]
            for kind in kinds
        },
        "primes": {
            kind: [[one["p"] for one in proposals[step["step"], kind] if "p" in one] for step in steps]
            for kind in kinds
        },
    }


Key = tuple[int, Kind]


def written(path: Path) -> tuple[dict[Key, list[dict[str, Any]]], dict[Key, list[bool]]]:
    """By step and kind: the proposals (reason, stray or not, p), and which attempts think."""
    proposals: dict[str, dict[str, Any]] = {}
    thoughts: dict[Key, list[bool]] = defaultdict(list)
    for event in read_jsonl(path / "events.jsonl"):
        name, what = event.get("id", event.get("proposal")), event["event"]
        if what == "attempt":
            thoughts[event["step"], event["kind"]].append(begins_a_thought(event["text"]))
        elif what == "proposal":
            proposals[name] = {"key": (event["step"], event["kind"]), "strays": begins_a_thought(event["text"])}
        elif name in proposals and what == "verdict":
            proposals[name]["reason"] = event["reason"]
        elif what == "task":
            proposals[name]["p"] = event["task"]["data"]["p"]
    by_key: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for one in proposals.values():
        by_key[one["key"]].append(one)
    return by_key, thoughts


def begins_a_thought(text: str) -> bool:
    """Whether the model thinks, as it can: before it answers."""
    return text.startswith("<think>")


def measures(proposals: Sequence[dict[str, Any]], thoughts: Sequence[bool], known: dict[str, Any]) -> list[Any]:
    """`MEASURES` of one step and kind; None where there is nothing to measure."""
    reasons = [one["reason"] for one in proposals]
    slips = [reason == "p_not_prime" or reason.endswith("_out_of_range") for reason in reasons]
    valid = np.mean([reason == "accepted" for reason in reasons])
    values = [
        # Eq. 4 within Eq. 6, by itself: no reward is written down where the proposer does not learn.
        valid * (known["learnability"] or 0.0) - (1 - valid),
        valid,
        np.mean(slips),
        np.mean([one["strays"] for one in proposals]),
        known["learnability"],
        known["solve_rate"],
        np.mean(thoughts),
    ]
    return [None if value is None else round(float(value), 3) for value in values]


# Lines to beat, on the held-out set of the runs


async def lines(config: Config) -> dict[str, Any]:
    """Marks by kind of a random guess, the best constant answer, and the untrained model when it is made to think."""
    domain = registry.make_domain(config.domain, config.sandbox)
    tasks = await domain.held_out(config.evaluation.tasks, None)  # type: ignore[arg-type]  # exact: nothing is run
    found = {
        "random guess": await guess(tasks, domain, None, seed=config.seed),  # type: ignore[arg-type]
        "best constant": await best_constant(tasks, domain, None),  # type: ignore[arg-type]
        "untrained, made to think": await made_to_think(config, domain, tasks),
    }
    return {name: {kind: "".join(map(str, of)) for kind, of in line.correct.items()} for name, line in found.items()}


async def made_to_think(config: Config, domain: Domain, tasks: Sequence[Task]) -> HeldOut:
    """What the untrained model answers at temperature 0 when `<think>` is put into its mouth."""
    policy = load_model(ModelConfig(name=shipped.resolve(config.model.name), device="cpu"))
    generator, render = LocalGenerator(policy, config.generation, seed=0), policy.renderer(chat=False)
    sampling = Sampling(config.generation.max_solve_tokens, temperature=0.0)

    async def answer(task: Task) -> Answered:
        prompt = render(domain.solve_prompt(task) + "<think>")
        (sample,) = await generator.sample(prompt, n=1, key=task.id, sampling=sampling)
        text = "<think>" + sample.text
        return Answered(task, text, await domain.verify(task, text, None))  # type: ignore[arg-type]

    return HeldOut(tuple(await gather(map(answer, tasks))))


# What the data say


def verdict(table: dict[str, Any]) -> Iterator[str]:
    """Every number of docs/primes.md, a line each; accuracies and gains in points of a percent."""
    for name, line in table["lines"].items():
        marks = marks_of(line)
        yield f"{name}: {shown({kind: 100 * of.mean() for kind, of in marks.items()})}, mean {mean(marks):.1f}"
    after: dict[str, dict[int, float]] = {}
    for arm, runs in table["arms"].items():
        found = {one["seed"]: solver(one) for one in runs}
        after[arm] = {seed: of["after"] for seed, of in found.items()}
        for one in runs:
            yield f"{arm}, seed {one['seed']}, {one['seconds']:.0f} s: {found[one['seed']]}"
        yield f"{arm}: mean gain {with_interval([of['gain'] for of in found.values()])}"
        yield from (f"{arm}, {line}" for line in proposer(runs))
    learns = after.pop("self-play")
    for arm, other in after.items():
        yield f"self-play less {arm}: {with_interval([learns[seed] - other[seed] for seed in other])}"


def solver(one: dict[str, Any]) -> dict[str, Any]:
    """Mean of kinds before and after, gain with its interval (paired by task), fall-back from the best evaluation."""
    evaluations = {point["step"]: marks_of(point) for point in one["held_out"]}
    means = [mean(marks) for marks in evaluations.values()]
    first, *_, last = evaluations.values()
    low, high = bootstrap_gain(*({kind: of.tolist() for kind, of in marks.items()} for marks in (first, last)))
    return {
        "before": round(means[0], 1),
        "after": round(means[-1], 1),
        "kinds": {kind: round(100 * float(of.mean()), 1) for kind, of in last.items()},
        "gain": round(means[-1] - means[0], 1),
        "interval": (round(100 * low, 1), round(100 * high, 1)),
        "fall_back": round(max(means) - means[-1], 1),
        "curve": [round(value, 1) for value in means],
    }


def marks_of(texts: Mapping[str, Any]) -> dict[Kind, np.ndarray]:
    """Marks by kind, from texts of 0 and 1."""
    return {kind: np.array([int(mark) for mark in text]) for kind, text in texts.items() if kind != "step"}


def mean(marks: dict[Kind, np.ndarray]) -> float:
    """The mean of kinds in points."""
    return 100 * float(np.mean([of.mean() for of in marks.values()]))


def proposer(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By kind: every measure over the first and over the last steps, and how many primes the tasks were about."""
    for kind in runs[0]["training"]:
        for index, name in enumerate(MEASURES):
            values = np.array([[row[index] for row in one["training"][kind]] for one in runs], dtype=np.float64)
            first, last = np.nanmean(values[:, :EDGE], axis=1), np.nanmean(values[:, -EDGE:], axis=1)
            yield f"{kind} {name}: {first.mean():.3f} -> {last.mean():.3f}, change {with_interval(last - first, 3)}"
        for when, steps in (("first", slice(None, EDGE)), ("last", slice(-EDGE, None))):
            chosen = [[p for of in one["primes"][kind][steps] for p in of] for one in runs]
            different, alike, size = (np.mean([of(ps) for ps in chosen]) for of in (count, two_to_the_entropy, np.mean))
            yield (
                f"{kind} primes, {when} {EDGE} steps: {different:.1f} different, as varied as {alike:.1f} equally"
                f" frequent ones, mean {size:.1f}"
            )


def count(values: Sequence[int]) -> int:
    """How many different values."""
    return len(set(values))


def two_to_the_entropy(values: Sequence[int]) -> float:
    """How many equally frequent values would be as uncertain."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(2 ** -(shares * np.log2(shares)).sum())


def shown(values: Mapping[str, float]) -> str:
    """Numbers by name, in a line."""
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


if __name__ == "__main__":
    main(__doc__, "primes", ARMS, TABLE, collect, verdict)
