"""Arms and seeds: runs of a preset under different settings, and means over seeds with their intervals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % quantile of Student's t, by number of runs."""


def train(
    preset: str,
    folder: Path,
    arms: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    words: Sequence[str],
    *,
    jobs: int = 1,
) -> None:
    """Train what has not been trained yet, into FOLDER/ARM/SEED; the first seed of every arm first.

    Args:
        preset: what is trained.
        folder: of all runs.
        arms: the settings of each.
        seeds: of each arm.
        words: settings of all.
        jobs: runs at a time.
    """

    def one(what: tuple[str, int]) -> None:
        arm, seed = what
        parent = folder / arm / str(seed)
        if not finished(preset, parent):
            command = ["train", preset, f"seed={seed}", f"output_dir={parent}", *arms[arm], *words]
            subprocess.run([sys.executable, "-m", "azr", *command], check=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [(arm, seed) for seed in seeds for arm in arms]))


def finished(preset: str, parent: Path) -> list[Path]:
    """Folders of the runs that came to their end."""
    return sorted(path.parent.parent for path in parent.glob(f"{preset}-*/model/config.json"))


def half_width(values: np.ndarray) -> np.ndarray:
    """Of the 95 % interval by Student's t, over the first axis (runs); nan for a single run."""
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)
    half: np.ndarray = STUDENT[len(values)] * values.std(axis=0, ddof=1) / len(values) ** 0.5
    return half


def with_interval(values: Sequence[float] | np.ndarray, digits: int = 1) -> str:
    """Mean over runs with its 95 % interval; a single run has none."""
    centre, half = float(np.mean(values)), float(half_width(np.asarray(values)))
    if np.isnan(half):
        return f"{centre:+.{digits}f} (one run)"
    return f"{centre:+.{digits}f} ({centre - half:+.{digits}f} to {centre + half:+.{digits}f})"
