"""The laboratory: what does self-play on the nursery's model learn, and what of its recipe matters?

    python bench/learning.py run [--arms azr grpo ...] [--seeds 0 1 2] [--runs FOLDER] [--jobs 2] [KEY=VALUE ...]
    python bench/learning.py table [--runs FOLDER] [--data FILE]  measures all finished runs; prints them and keeps them

`run` trains preset `demo` once an arm and seed, on one core each; what is finished is not run again. `table` puts the
model of every finished run beside the untrained one with `azr eval`, and writes FILE, docs/data/learning.json if none
is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from azr.analysis.run import Analysis
from azr.analysis.statistics import with_interval
from azr.evals.results import ALL, MEAN
from azr.run.directory import read_jsonl
from azr.sweep.command import sweep
from azr.sweep.folder import finished
from azr.sweep.grid import Sweep

DATA = Path(__file__).parent.parent / "docs" / "data" / "learning.json"
PAPER = [
    *("buffer.shape_limit=null", "rewards.novelty.coefficient=0", "selfplay.reference_sampling=uniform"),
    "learner.schedule=constant",
]
"""What the paper has where the demo is guarded against collapse."""
ARMS = {
    "demo": [],
    "azr": PAPER,
    "frozen-proposer": [*PAPER, "selfplay.train_proposer=false"],
    "deduction-alone": [*PAPER, 'domain.kinds=["deduction"]'],
    "abduction-alone": [*PAPER, 'domain.kinds=["abduction"]'],
    "induction-alone": [*PAPER, 'domain.kinds=["induction"]'],
    "no-references": [*PAPER, "selfplay.references=0"],
    "reinforce++": [*PAPER, "algorithm.name=reinforce++"],
    "grpo": [*PAPER, "algorithm.name=grpo"],
    "rloo": [*PAPER, "algorithm.name=rloo"],
    "unguarded": [*PAPER, "selfplay.references=0", "buffer.reject_duplicates=false"],
    "reference-profile": [*PAPER, "rewards.profile=reference", "algorithm.whiten=token", "algorithm.clip_high=0.28"],
}
"""What is compared, and the settings that make it so."""
SETS = ("nursery-iid", "nursery-human")
EDGE = 5
"""Steps at the start and at the end of a run that are compared."""


# Measuring


def measure(folder: Path) -> dict[str, Any]:
    """Accuracy at temperature 0 of all finished runs and of the untrained model, and how their training went."""
    runs = finished(folder)
    models = ["nursery", *(str(path / "model") for path in runs.values())]
    words = ["--bench", ",".join(SETS), "--max-tokens", "256", "--out", str(folder / "evals")]
    subprocess.run([sys.executable, "-m", "azr", "eval", *models, *words], check=True)
    results = json.loads((folder / "evals" / "results.json").read_text(encoding="utf-8"))["results"]
    found = {(row["model"], row["benchmark"]): row["parts"] for row in results}
    return {
        "untrained": {name: accuracies(found["nursery", name]) for name in SETS},
        "random guess": {
            name: {part: of["random guess"] for part, of in found["nursery", name].items()} for name in SETS
        },
        "runs": [
            {"arm": arm, "seed": seed}
            | {name: accuracies(found[str(path / "model"), name]) for name in SETS}
            | training(path)
            for (arm, seed), path in runs.items()
        ],
    }


def accuracies(parts: dict[str, Any]) -> dict[str, float]:
    return {part: of["pass"]["1"]["value"] for part, of in parts.items()}


def training(path: Path) -> dict[str, Any]:
    """How a run went: its cost, and at its start and end the solve rates and what is proposed."""
    steps = [record for record in read_jsonl(path / "metrics.jsonl") if "kinds" in record]
    ends = {"start": steps[:EDGE], "end": steps[-EDGE:]}
    return {
        "steps": len(steps),
        "seconds": round(sum(step["seconds"]["step"] for step in steps), 1),
        "solve_rate": {
            when: {kind: mean_of(step["kinds"][kind]["solve_rate"] for step in some) for kind in steps[0]["kinds"]}
            for when, some in ends.items()
        },
        "signal": {
            when: {name: mean_of(step["signal"].get(name) for step in some) for name in steps[0]["signal"]}
            for when, some in ends.items()
        },
        "known_shapes": known_shapes(path),
    }


def known_shapes(path: Path) -> dict[str, float | None]:
    """Share of the first and the last steps' new tasks whose shape a task of an earlier step had."""
    found = Analysis(texts=False)
    for event in read_jsonl(path / "events.jsonl"):
        found.feed(event)
    shares = list(known_by_step(found).values())
    return {"start": mean_of(shares[:EDGE]), "end": mean_of(shares[-EDGE:])}


def known_by_step(found: Analysis) -> dict[int, float]:
    """Share of each step's new tasks whose shape a task of an earlier step had; none for a step without new tasks."""
    return {step.step: step.known / step.accepted for step in found.steps if step.accepted}


def mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 4) if known else None


# Reading


def table(data: dict[str, Any]) -> Iterator[str]:
    """A row an arm, in points: mean gain with its interval over seeds, by kind, how the tasks narrow, and the cost."""
    kinds = [part for part in data["untrained"][SETS[0]] if part not in (ALL, MEAN)]
    names = ["arm", "seeds", f"gain on {SETS[0]}", *kinds, f"gain on {SETS[1]}", "known shapes (%)", "seconds"]
    yield row(names)
    yield row(["---"] * len(names))
    arms: dict[str, list[dict[str, Any]]] = {}
    for one in data["runs"]:
        arms.setdefault(one["arm"], []).append(one)
    for arm, runs in arms.items():
        by_kind = [f"{fmean(gains(data, runs, SETS[0], [kind])):+.1f}" for kind in kinds]
        known = [f"{100 * fmean(one['known_shapes'][when] for one in runs):.0f}" for when in ("start", "end")]
        spread = [with_interval(gains(data, runs, name, kinds)) for name in SETS]
        cost = f"{fmean(one['seconds'] for one in runs):.0f}"
        yield row([arm, str(len(runs)), spread[0], *by_kind, spread[1], " to ".join(known), cost])


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def gains(data: dict[str, Any], runs: Sequence[dict[str, Any]], name: str, kinds: Sequence[str]) -> list[float]:
    """What each run gained on a set over the untrained model, in points, as the mean of some kinds."""
    before = fmean(data["untrained"][name][kind] for kind in kinds)
    return [100 * (fmean(one[name][kind] for kind in kinds) - before) for one in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"))
    parser.add_argument("--data", type=Path, default=DATA, help="where the table's figures are kept")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    arguments = parser.parse_intermixed_args()
    if arguments.what == "run":
        arms = {arm: ARMS[arm] for arm in arguments.arms}
        wanted = Sweep("demo", arms, arguments.seeds, ["threads=1", *arguments.overrides])
        sys.exit(sweep(wanted, arguments.runs, arguments.jobs))
    data = measure(arguments.runs)
    arguments.data.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(*table(data), sep="\n")


if __name__ == "__main__":
    main()
