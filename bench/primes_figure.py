"""Draw docs/data/primes.svg from docs/data/primes.json: solver above, proposer below, a column a kind, with 95 % bands.

Usage: python bench/primes_figure.py [--table docs/data/primes.json] [--out docs/data/primes.svg]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from primes import TABLE

from azr.analysis.statistics import half_width

WINDOW = 10
"""Steps that one point of a proposer's curve averages over."""
DRAWS = 2000
COLOURS = {"self-play": "#0072b2", "frozen-proposer": "#d55e00"}
NAMES = {"self-play": "self-play", "frozen-proposer": "proposer does not learn"}
STYLES = {"random guess": ":", "best constant": "--", "untrained, made to think": "-."}
ROWS = (
    ("solve_rate", "solver: new tasks solved", (0.0, 1.0)),
    ("reward", "proposer: mean reward", None),
    ("valid", "proposer: accepted", (0.0, 1.0)),
    ("strays", "proposer: begins a thought", (0.0, 0.6)),
)
"""Below the held-out accuracy: a measure, what it is, its limits."""


def draw(table: dict[str, Any]) -> Figure:
    """A column a kind; the first row is held-out accuracy, the others what training saw."""
    kinds = list(table["arms"]["self-play"][0]["training"])
    figure = Figure(figsize=(3.6 * len(kinds), 2.2 * (1 + len(ROWS))), layout="constrained")
    axes = figure.subplots(1 + len(ROWS), len(kinds), sharex=True, sharey="row")
    for column, kind in enumerate(kinds):
        held_out(axes[0][column], table, kind)
        for (measure, _, limits), place in zip(ROWS, axes[1:, column], strict=True):
            training(place, table, kind, table["measures"].index(measure), limits)
        axes[0][column].set_title(kind)
        axes[-1][column].set_xlabel("step")
    for row, words in enumerate(("solver: held-out accuracy", *(words for _, words, _ in ROWS))):
        axes[row][0].set_ylabel(words)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize="small")
    return figure


def held_out(place: Axes, table: dict[str, Any], kind: str) -> None:
    """Accuracy on unseen pairs, and the lines to beat."""
    for arm, runs in table["arms"].items():
        steps = [point["step"] for point in runs[0]["held_out"]]
        marks = np.array([[[int(m) for m in point[kind]] for point in one["held_out"]] for one in runs])
        band(place, label(arm, runs), COLOURS[arm], steps, marks.mean(axis=(0, 2)), *drawn_again(marks))
    for name, style in STYLES.items():
        accuracy = np.mean([int(mark) for mark in table["lines"][name][kind]])
        place.axhline(float(accuracy), linestyle=style, color="#555555", linewidth=1, label=name)
    place.set_ylim(0, 1)
    place.yaxis.set_major_formatter(PercentFormatter(1.0))


def drawn_again(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A band that holds for other seeds and other tasks: both are drawn again, the same tasks for every step.

    Args:
        marks: [run, evaluation, task].
    """
    rng = np.random.default_rng(0)
    runs, _, tasks = marks.shape
    means = [
        marks[rng.integers(runs, size=runs)].mean(axis=0)[:, rng.integers(tasks, size=tasks)].mean(axis=1)
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def training(place: Axes, table: dict[str, Any], kind: str, measure: int, limits: tuple[float, float] | None) -> None:
    """A measure of training in windows of steps; the band is Student's over the runs."""
    for arm, runs in table["arms"].items():
        values = np.array([[row[measure] for row in one["training"][kind]] for one in runs], dtype=np.float64)
        windows = np.nanmean(values.reshape(len(runs), -1, WINDOW), axis=2)
        centre = windows.mean(axis=0)
        half = half_width(windows)
        steps = WINDOW * np.arange(len(centre)) + (WINDOW + 1) / 2
        band(place, label(arm, runs), COLOURS[arm], steps, centre, centre - half, centre + half)
    if limits:
        place.set_ylim(*limits)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))


def label(arm: str, runs: Sequence[Any]) -> str:
    """What the curve is, and of how many runs."""
    return f"{NAMES[arm]} ({len(runs)} {'run' if len(runs) == 1 else 'runs'})"


def band(
    place: Axes,
    name: str,
    colour: str,
    steps: Sequence[float] | np.ndarray,
    centre: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """A curve and its interval."""
    place.plot(steps, centre, color=colour, linewidth=1.6, label=name)
    place.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    place.grid(alpha=0.25)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=TABLE.with_suffix(".svg"))
    options = parser.parse_args()
    matplotlib.rcParams |= {
        "svg.hashsalt": "azr",
        "svg.fonttype": "none",
        "font.size": 9,
    }  # the same data give the same file
    draw(json.loads(options.table.read_text(encoding="utf-8"))).savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
