"""How long a step takes on 1 to 1,024 GPUs, where the time goes, and what staleness buys: a simulation.

    python bench/scaling_sim.py [--card h100-80gb] [--staleness 1] [--figure docs/images/scaling.svg]
    python bench/scaling_sim.py --inputs RUN [RUN...]        # times measured in runs, in place of a card's
    python bench/scaling_sim.py --check RUN --inputs RUN...  # compare a run's steps with the prediction

`--check` fits the speed of one process to the runs in `--inputs`, simulates the configuration of the run in `--check`,
and prints both times per step. A run with `learner.processes` above 1, or with `generation.urls`, is laid out as such.
docs/scaling.md describes the model.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaling_events import simulate
from scaling_inputs import CARD_MODEL, assumed, layout, measured, speed, workload
from scaling_model import Cluster, Result, Speed, Workload

GPUS = tuple(2**power for power in range(11))
SHARES = (2, 4, 8)
"""One GPU in so many learns, the others generate; the fastest of these is taken, or all GPUs taking turns."""

COLUMNS = (
    *("GPUs", "generate + learn", "step", "speed-up", "generators busy", "learner busy", "sandbox busy"),
    *("without sandbox", "without weights", "without stragglers"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A number of GPUs, its fastest layout, and how much faster a step would be without one cost."""

    gpus: int
    cluster: Cluster
    result: Result
    gains: dict[str, float]


def layouts(gpus: int, cluster: Cluster) -> Iterator[Cluster]:
    """Ways to use so many GPUs: taking turns, or a share of them for the learner."""
    yield replace(cluster, generators=gpus, learners=gpus, colocated=True, staleness=0, sync="none")
    for learners in sorted({gpus // share for share in SHARES if gpus // share}):
        yield replace(cluster, generators=gpus - learners, learners=learners, colocated=False)


def fastest(gpus: int, load: Workload, one: Speed, cluster: Cluster, steps: int) -> tuple[Cluster, Result]:
    """The layout with the shortest step. With staleness more steps are played, since more are left out."""
    steps += 2 * cluster.staleness
    tried = [(way, simulate(load, one, way, steps=steps)) for way in layouts(gpus, cluster)]
    return min(tried, key=lambda pair: pair[1].step)


def without(load: Workload, one: Speed, cluster: Cluster) -> dict[str, tuple[Workload, Speed, Cluster]]:
    """The same run with one cost taken away."""
    free = replace(one, validate=0.0, verify=0.0, slow_share=0.0)
    even = replace(load, propose_tokens=(_mean(load.propose_tokens),), solve_tokens=(_mean(load.solve_tokens),))
    return {
        "sandbox": (load, free, cluster),
        "weights": (load, replace(one, weight_bytes=0.0), replace(cluster, sync="none")),
        "stragglers": (even, one, cluster),
    }


def sweep(gpus: Sequence[int], load: Workload, one: Speed, cluster: Cluster, steps: int) -> Iterator[Row]:
    """Simulate each number of GPUs, and what each cost adds to it."""
    for count in gpus:
        best, result = fastest(count, load, one, cluster, steps)
        changed = without(load, one, best)
        played = steps + 2 * cluster.staleness
        gains = {name: result.step / simulate(*parts, steps=played).step for name, parts in changed.items()}
        yield Row(count, best, result, gains)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "| --- " * len(COLUMNS) + "|"
    for row in rows:
        cluster, result = row.cluster, row.result
        ways = "in turns" if cluster.colocated else f"{cluster.generators} + {cluster.learners}"
        gains = " | ".join(f"{row.gains[name]:.2f}x" for name in ("sandbox", "weights", "stragglers"))
        yield (
            f"| {row.gpus:,} | {ways} | {result.step:.1f} s | {rows[0].result.step / result.step:.1f}x"
            f" | {result.generating:.0%} | {result.learning:.0%} | {result.checking:.0%} | {gains} |"
        )


def check(run: Path, inputs: Sequence[Path], cluster: Cluster, *, skip: int) -> str:
    """Compare a run's median time per step with the prediction from other runs, or from itself."""
    found = measured(run, skip=skip)
    known = [measured(path, skip=skip) for path in inputs] or [found]
    place = layout(found.config, cluster)
    load = workload(known[0], like=found.config)
    predicted = simulate(load, speed(known, place.workers), place, steps=12).step
    seconds = [step.seconds["step"] for step in found.steps]
    middle = statistics.median(seconds)
    return (
        f"{run.name}: {place.learners} learning, {place.generators} generating; predicted {predicted:.2f} s per step,"
        f" measured {middle:.2f} s (median of {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f}):"
        f" error {predicted / middle - 1:+.0%}"
    )


def _mean(tokens: Sequence[int]) -> int:
    return max(1, round(statistics.fmean(tokens)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", default="h100-80gb", help="card whose data sheet is used, with assumed shares")
    parser.add_argument("--inputs", type=Path, nargs="+", default=[], metavar="RUN", help="runs to take times from")
    parser.add_argument("--check", type=Path, metavar="RUN", help="run to compare with the prediction")
    parser.add_argument("--skip", type=int, default=1, help="first steps of runs to leave out")
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--batch", type=int, default=1, help="multiply the proposals of a step")
    parser.add_argument("--staleness", type=int, default=0)
    parser.add_argument("--sync", choices=["nccl", "disk"], default="nccl")
    parser.add_argument("--workers", type=int, default=16, help="sandbox workers per node")
    parser.add_argument("--nodes", type=int, default=1, help="nodes with sandbox workers")
    parser.add_argument("--steps", type=int, default=9, help="steps to simulate")
    parser.add_argument("--figure", type=Path, help="file for the figure, .svg or .png")
    return parser.parse_args()


def main() -> None:
    """Read the command line."""
    options = _options()
    cluster = Cluster(
        workers=options.workers * options.nodes,
        sync=options.sync,
        staleness=options.staleness,
    )
    if options.check:
        print(check(options.check, options.inputs, cluster, skip=options.skip))
        return
    if options.inputs:
        runs = [measured(run, skip=options.skip) for run in options.inputs]
        load, one = workload(runs[0]), speed(runs, cluster.workers)
        about = "measured in " + ", ".join(run.name for run in options.inputs)
    else:
        load, one = assumed(options.card)
        about = f"ASSUMED for {options.card}, {CARD_MODEL}"
    load = replace(load, proposals=load.proposals * options.batch)
    print(f"{about}\n{one}\n")
    rows = []
    for row in sweep(options.gpus, load, one, cluster, options.steps):
        rows.append(row)
        print(list(table([*rows[:1], row]))[-1], flush=True)
    print("\n" + "\n".join(table(rows)))
    if options.figure:
        from scaling_figure import draw

        draw(options.figure, rows, load, one, cluster, options.steps, about)


if __name__ == "__main__":
    main()
