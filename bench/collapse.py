"""Does self-play drift to one family of tasks? The demo without its guard, with it, and with a frozen proposer.

    python bench/collapse.py run [--arms unguarded ...] [--seeds 0 1 2] [--steps 150] [--runs FOLDER] [--jobs 2]
    python bench/collapse.py table [--runs FOLDER] [--span 15]

`run` trains preset `demo` once an arm and seed, on one core each; what is finished is not run again. `table` prints
what became of every run there is, by spans of steps, from its own logs.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from learning import PAPER, known_by_step, row

from azr.analysis.run import Analysis
from azr.run.directory import read_jsonl
from azr.sweep.command import sweep
from azr.sweep.grid import Sweep

ARMS = {"unguarded": PAPER, "guarded": [], "frozen-proposer": [*PAPER, "selfplay.train_proposer=false"]}
HEADINGS = ("steps", "known (%)", "novelty", "most risen (%)", "solved (%)", "held-out (%): mean; by kind")


def table(run: Path, span: int) -> Iterator[str]:
    """A row for each span of steps.

    Known is the share of new tasks whose shape a task of an earlier step had; most risen is the construct whose share
    of the programs rose most since the first span, with both shares; solved is the solve rate of the model's own
    deductions; held-out is the last evaluation in the span.
    """
    metrics = list(read_jsonl(run / "metrics.jsonl"))
    steps = {record["step"]: record for record in metrics if "kinds" in record}
    held_out = {record["step"]: record["held_out"] for record in metrics if "held_out" in record}
    known, programs = tasks(run)
    at_first = shares([program for step in range(1, 1 + span) for program in programs[step]])
    yield row(HEADINGS)
    yield row(["---"] * len(HEADINGS))
    for first in range(1, max(steps) + 1, span):
        some = [step for step in range(first, first + span) if step in steps]
        yield row(
            [
                f"{some[0]}-{some[-1]}",
                percent([known[step] for step in some if step in known]),
                f"{fmean(steps[step]['signal']['novelty'] for step in some):.2f}",
                most_risen(at_first, shares([program for step in some for program in programs[step]])),
                percent([steps[step]["kinds"]["deduction"]["solve_rate"] or 0.0 for step in some]),
                accuracy([held_out[step] for step in some if step in held_out]),
            ]
        )


def tasks(run: Path) -> tuple[dict[int, float], dict[int, list[str]]]:
    """By step: the share of known shapes, and the programs of deductions and abductions."""
    analysis, programs = Analysis(texts=False), defaultdict[int, list[str]](list)
    for event in read_jsonl(run / "events.jsonl"):
        analysis.feed(event)
        if event["event"] == "task" and event["task"]["kind"] != "induction":
            programs[event["step"]].append(event["task"]["data"]["program"])
    return known_by_step(analysis), programs


def shares(programs: Sequence[str]) -> dict[str, float]:
    """Share of the programs that hold each construct: operators, statements, expressions, functions and methods."""
    counts = Counter(construct for program in programs for construct in constructs(program))
    return {construct: count / len(programs) for construct, count in counts.items()}


def constructs(program: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(program)))
    named = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    methods = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return named | methods | {type(node).__name__ for node in nodes}


def most_risen(before: dict[str, float], after: dict[str, float]) -> str:
    rises = {construct: share - before.get(construct, 0.0) for construct, share in after.items()}
    most = max(sorted(rises), key=rises.__getitem__)
    return f"{most} {100 * before.get(most, 0.0):.0f} -> {100 * after[most]:.0f}" if rises[most] > 0 else "-"


def percent(shares: Sequence[float]) -> str:
    return f"{100 * fmean(shares):.0f}" if shares else "-"


def accuracy(evaluations: Sequence[dict[str, Any]]) -> str:
    if not evaluations:
        return "-"
    kinds = ", ".join(f"{100 * of['accuracy']:.0f}" for of in evaluations[-1]["kinds"].values())
    return f"{100 * evaluations[-1]['mean']['accuracy']:.1f}; {kinds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--span", type=int, default=15, help="steps in a row of the table")
    arguments = parser.parse_args()
    if arguments.what == "run":
        words = [f"steps={arguments.steps}", "threads=1", "evaluation.every=25", "evaluation.tasks=300"]
        arms = {arm: ARMS[arm] for arm in arguments.arms}
        sys.exit(sweep(Sweep("demo", arms, arguments.seeds, words), arguments.runs, arguments.jobs))
    for run in sorted(arguments.runs.glob("*/[0-9]*/demo-*")):
        print(f"\n{run.parent.parent.name}, seed {run.parent.name}\n", *table(run, arguments.span), sep="\n")


if __name__ == "__main__":
    main()
