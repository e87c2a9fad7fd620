"""The figure of docs/scaling.md: time per step over GPUs for several staleness, and what each cost adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scaling_model import Cluster, Speed, Workload
from scaling_sim import Row, fastest

STALENESS = (0, 1, 2)
COLOURS = ("#0072b2", "#d55e00", "#009e73")


def draw(path: Path, rows: Sequence[Row], load: Workload, one: Speed, cluster: Cluster, steps: int, about: str) -> None:
    """Draw and save it; the format follows from the file's name.

    Args:
        path: of the file.
        rows: of the table.
        load: what a step plays.
        one: speed of one GPU.
        cluster: everything but the number of GPUs and the staleness.
        steps: to simulate.
        about: where the inputs come from.
    """
    matplotlib.rcParams |= {"svg.hashsalt": "azr", "svg.fonttype": "none", "font.size": 9}
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    gpus = [row.gpus for row in rows]
    for staleness, colour in zip(STALENESS, COLOURS, strict=True):
        ways = replace(cluster, staleness=staleness)
        known = [row.result.step for row in rows] if staleness == cluster.staleness else None
        seconds = known or [fastest(count, load, one, ways, steps)[1].step for count in gpus]
        left.plot(gpus, seconds, "o-", markersize=3, color=colour, label=f"staleness {staleness}")
    ideal = [rows[0].result.step * gpus[0] / count for count in gpus]
    left.plot(gpus, ideal, ":", color="#555555", label="in proportion to the GPUs")
    left.set_ylabel("seconds per step")
    left.set_yscale("log")
    for name, colour in zip(rows[0].gains, COLOURS, strict=True):
        right.plot(gpus, [row.gains[name] for row in rows], "o-", markersize=3, color=colour, label=f"without {name}")
    right.set_ylabel("speed-up if one cost is taken away")
    for place in (left, right):
        place.set_xscale("log", base=2)
        place.set_xlabel("GPUs")
        place.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        place.grid(alpha=0.25)
        place.legend(frameon=False, fontsize="small")
    figure.suptitle(f"Simulated. Times {about}", fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
