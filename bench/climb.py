"""Does self-play teach a model to execute longer programs? Runs of the preset `climb`, and of its controls.

    python bench/climb.py run [--runs FOLDER] [--seeds 0 1 2] [KEY=VALUE ...]    trains what is missing, collects
    python bench/climb.py collect [--runs FOLDER]                                from finished runs
    python bench/climb.py verdict                                                prints what the data say

`collect` writes docs/data/climb.json: of every run the marks of its held-out tasks by number of statements, and for
every step the length and depth of the new tasks. `bench/climb_figure.py` draws it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arms import main

from azr import settings
from azr.analysis.statistics import with_interval
from azr.run.directory import read_jsonl
from azr.sweep.folder import finished

TABLE = Path(__file__).parent.parent / "docs" / "data" / "climb.json"
ARMS = {
    "self-play": [],
    "frozen-proposer": ["selfplay.train_proposer=false"],
    "splicing": ["selfplay.train_proposer=false", "domain.extend_share=0.0", "domain.join_share=0.8"],
    "progress": ["rewards.progress.coefficient=2.0"],
    "thinking": ["rewards.thinking.coefficient=1.0"],
    "sizes": ["domain.sizes=4", "selfplay.relabel=0.5"],
    "no-building": ["selfplay.train_proposer=false", "domain.extend_share=0.0", "domain.join_share=0.0"],
}
"""What is compared, and the settings that make it so.

The untrained model's proposals follow the grammar that it was trained on: one to three statements, drawn at random. So
with a frozen proposer, an extension is a random statement of the grammar, and without building, a task is a random
short program. `sizes` needs a base that was made for it, by `python -m nursery.steps FOLDER --sized`; then set
`model.name=FOLDER` for all arms.
"""
EDGE = 5
"""Steps at the start and at the end of training that are compared."""


# From runs to data


def collect(folder: Path) -> dict[str, Any]:
    """Everything that the verdict and the figure need; an arm without a finished run is left out."""
    arms: dict[str, list[dict[str, Any]]] = {}
    runs = finished(folder)
    for (arm, _), path in runs.items():
        arms.setdefault(arm, []).append(curves(path))
    plain = min(runs, key=lambda run: run[0] != "self-play")  # another arm if there is no such run
    config = settings.read(str(runs[plain] / "config.toml"))
    return {
        "configuration": {key: value for key, value in config.items() if key not in ("output_dir", "seed")},
        "arms": {arm: arms[arm] for arm in ARMS if arm in arms},
    }


def curves(path: Path) -> dict[str, Any]:
    """Of one run: the marks of every evaluation by number of statements, and what the new tasks were like."""
    config = settings.read(str(path / "config.toml"))
    lengths = [name.rpartition("-")[2] for name in config["domain"]["held_out"].split(",")]
    records = list(read_jsonl(path / "metrics.jsonl"))
    steps = [record for record in records if "signal" in record]
    return {
        "seed": config["seed"],
        "seconds": round(sum(step["seconds"]["step"] for step in steps), 1),
        "tokens": round(
            sum((role["tokens"] or 0) * role["rollouts"] for step in steps for role in step["roles"].values())
        ),
        "valid": [round(step["kinds"]["deduction"]["valid"], 3) for step in steps],
        "held_out": [
            {"step": record["step"], **by_length(record["held_out"]["marks"]["deduction"], lengths)}
            for record in records
            if "held_out" in record
        ],
        "length": [step["signal"].get("length") for step in steps],  # None: no new tasks
        "depth": [step["signal"].get("depth") for step in steps],
        "alarms": sorted({alarm for step in steps for alarm in step["alarms"]}),
    }


def by_length(marks: Sequence[int], lengths: Sequence[str]) -> dict[str, str]:
    """Marks of each held-out set as a text of 0 and 1. The sets have equally many tasks, and come one after another."""
    each = len(marks) // len(lengths)
    return {
        length: "".join(map(str, marks[number * each : (number + 1) * each])) for number, length in enumerate(lengths)
    }


# What the data say


def verdict(table: dict[str, Any]) -> Iterator[str]:
    """Accuracies and gains in points of a percent, with 95 % intervals over seeds (Student's t)."""
    after: dict[str, dict[int, dict[str, float]]] = {}
    for arm, runs in table["arms"].items():
        after[arm] = {one["seed"]: accuracies(one["held_out"][-1]) for one in runs}
        for one in runs:
            first, *_, last = one["held_out"]
            yield (
                f"{arm}, seed {one['seed']}, {one['seconds']:.0f} s: {shown(accuracies(first))} -> "
                f"{shown(accuracies(last))}; statements {rise(one['length'])}, depth {rise(one['depth'])}, valid "
                f"{rise(one['valid'])}; {one['tokens'] / 1e6:.2f} million tokens learnt from"
                f"; alarms: {counted_alarms(one['alarms'])}"
            )
        for length, before in accuracies(runs[0]["held_out"][0]).items():
            gains = [of[length] - before for of in after[arm].values()]
            yield f"{arm}, {length} statements: {before:.1f} %, gain {with_interval(gains)}"
    learns = after.pop("self-play", {})
    for arm, other in after.items():
        shared = sorted(learns.keys() & other.keys())
        for length in learns[shared[0]] if shared else ():
            differences = [learns[seed][length] - other[seed][length] for seed in shared]
            yield f"self-play less {arm}, {length} statements: {with_interval(differences)}"


def accuracies(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Percent by number of statements."""
    return {
        length: 100 * marks.count("1") / len(marks) for length, marks in evaluation.items() if isinstance(marks, str)
    }


def rise(values: Sequence[float | None]) -> str:
    """The median over the first and over the last steps."""
    known = np.array(values, float)
    return f"{np.nanmedian(known[:EDGE]):.3g} -> {np.nanmedian(known[-EDGE:]):.3g}"


def counted_alarms(alarms: Sequence[str]) -> str:
    """Alarms that differ in their step and percentage only, with the number of their steps."""
    alike = Counter(re.sub(r"\d+%", "N%", re.sub(r" in step \d+", "", alarm)) for alarm in alarms)
    return ", ".join(f"{alarm} ({steps} steps)" for alarm, steps in alike.items()) or "none"


def shown(values: Mapping[str, float]) -> str:
    """Numbers by name, in a line."""
    return ", ".join(f"{name}: {value:.1f}" for name, value in values.items())


if __name__ == "__main__":
    main(__doc__, "climb", ARMS, TABLE, collect, verdict)
