"""Draw docs/data/climb.svg from docs/data/climb.json: held-out accuracy by length, and the length of new tasks.

Usage: python bench/climb_figure.py [--table docs/data/climb.json] [--out docs/data/climb.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from climb import TABLE, accuracies
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WINDOW = 5
"""Steps that one point of the curve of new tasks averages over."""
COLOURS = {
    "self-play": "#0072b2",
    "frozen-proposer": "#d55e00",
    "splicing": "#009e73",
    "progress": "#cc79a7",
    "thinking": "#e69f00",
    "sizes": "#56b4e9",
    "no-building": "#999999",
}
NAMES = {
    "frozen-proposer": "proposer does not learn",
    "splicing": "splicing alone",
    "progress": "progress rewarded too",
    "thinking": "what thinking adds rewarded too",
    "sizes": "sizes asked for",
    "no-building": "nothing is built on",
}


def draw(table: dict[str, Any]) -> Figure:
    """A panel per held-out set, and one for the new tasks; each curve is the mean of seeds, each line a seed."""
    lengths = [key for key in table["arms"]["self-play"][0]["held_out"][0] if key != "step"]
    figure = Figure(figsize=(2.6 * (len(lengths) + 1), 2.8), layout="constrained")
    *panels, last = figure.subplots(1, len(lengths) + 1)
    for length, axes in zip(lengths, panels, strict=True):
        for arm, runs in table["arms"].items():
            steps = [point["step"] for point in runs[0]["held_out"]]
            curves = [[accuracies(point)[length] for point in one["held_out"]] for one in runs]
            lines(axes, arm, steps, np.array(curves))
        axes.set(title=f"{length} statements", xlabel="step", ylim=(0, 100))
    panels[0].set_ylabel("held-out tasks solved, %")
    for arm, runs in table["arms"].items():
        curves = [np.convolve(np.array(one["length"], float), np.ones(WINDOW) / WINDOW, "valid") for one in runs]
        lines(last, arm, list(range(WINDOW, WINDOW + len(curves[0]))), np.array(curves))
    last.set(title="new tasks", xlabel="step", ylabel="median statements", ylim=(0, None))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize="small")
    return figure


def lines(axes: Axes, arm: str, steps: list[int], curves_RS: np.ndarray) -> None:
    """A thin line per run and a thick one for their mean."""
    for curve in curves_RS:
        axes.plot(steps, curve, color=COLOURS[arm], linewidth=0.6, alpha=0.4)
    axes.plot(steps, np.nanmean(curves_RS, axis=0), color=COLOURS[arm], linewidth=1.8, label=NAMES.get(arm, arm))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=TABLE.with_suffix(".svg"))
    options = parser.parse_args()
    matplotlib.rcParams.update(
        {"svg.hashsalt": "azr", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    )
    draw(json.loads(options.table.read_text(encoding="utf-8"))).savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
