"""`azr sweep`: trains what is missing, then writes one page that compares the settings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from azr.analysis.seeds import Records, curves, guess, table
from azr.analysis.text import in_points
from azr.errors import UserError
from azr.models.threads import cores
from azr.report.build import report as report_runs
from azr.report.page import render
from azr.run.directory import METRICS, RUNS, explained, read_jsonl, replace_text
from azr.sweep.folder import MANIFEST, places, prepare, read
from azr.sweep.grid import Sweep
from azr.sweep.runner import Machine, Runner
from azr.train.start import STOPPED, resolve
from azr.train.stopping import Stopped


def sweep(wanted: Sweep, folder: Path | None, jobs: int | None, say: Callable[[str], None] = print) -> int:
    """Train the runs of a sweep that are not finished, and write its page; returns the exit code.

    Args:
        wanted: the runs.
        folder: of the sweep; None: runs/sweep-PRESET.
        jobs: runs at a time; None: one for each GPU, or for each core if there is no GPU.
        say: called with each line about what happens.

    Raises:
        UserError: a setting is wrong, the folder holds something else, or runs failed.
    """
    configs = {name: resolve(wanted.source, [*words, *wanted.words]) for name, words in wanted.settings.items()}
    folder = folder or RUNS / f"sweep-{Path(wanted.source).stem}"
    known = prepare(folder, wanted)
    chosen = list(places(folder, wanted))
    machine = _machine(jobs, cpu=all(config.model.device == "cpu" for config in configs.values()))
    say(f"{len(chosen)} runs in {folder}, {machine.jobs} at a time")
    try:
        failed = asyncio.run(Runner(wanted, configs, machine, say).run(chosen))
    except Stopped:
        say(f"stopped; the same command continues it, in {folder}")
        return STOPPED
    data = page_data(folder, known)
    for line in in_words(data["table"]):
        say(line)
    say(f"report: {_write(folder, data)}")
    if failed:
        title, line = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(chosen)} runs failed; the first is {title}: {line}")
    return 0


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of a sweep, or of runs and evaluations, and return its path.

    Raises:
        UserError: a sweep or a log cannot be read, or the page cannot be written.
    """
    if len(folders) != 1 or not (folders[0] / MANIFEST).is_file():
        return report_runs(folders, out)
    return _write(folders[0], page_data(folders[0], read(folders[0])), out)


def _write(folder: Path, data: dict[str, Any], out: Path | None = None) -> Path:
    target = out or folder / "report.html"
    with explained(target, remedy="name another file with --out, or make it writable"):
        replace_text(target, render({"runs": [], "evals": [], "sweep": data}))
    return target


def page_data(folder: Path, known: Sweep) -> dict[str, Any]:
    """What the page shows: the table and the curves of the finished runs, and a line for every run."""
    runs: dict[str, dict[int, Records]] = {setting: {} for setting in known.settings}
    lines: list[dict[str, Any]] = []
    for place in sorted(places(folder, known), key=lambda place: list(known.settings).index(place.setting)):
        found = place.run()
        line: dict[str, Any] = {"setting": place.setting, "seed": place.seed, "state": "not started"}
        if found is not None:
            name = str(found.path.relative_to(folder))
            line |= {"state": found.state, "steps": found.steps, "gain": found.gain, "folder": name}
            if found.state == "finished":
                runs[place.setting][place.seed] = list(read_jsonl(found.path / METRICS))
        lines.append(line)
    about = {"preset": known.source, "seeds": ", ".join(map(str, known.seeds)), "all runs": " ".join(known.words)}
    return {
        "name": folder.resolve().name,
        "about": {name: text for name, text in about.items() if text},
        "table": table(runs),
        "figures": curves(runs),
        "guess": guess(runs),
        "runs": lines,
    }


def in_words(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each setting, in points."""
    for row in rows:
        against = f"; against {rows[0]['setting']} {_points(row['difference'])}" if row["difference"] else ""
        yield f"{row['setting']}: mean gain over {row['runs']} runs {_points(row['gain'])}{against}"


def _points(found: dict[str, Any]) -> str:
    mean, interval = found["mean"], found["interval"]
    return in_points(mean, interval) if interval else f"{100 * mean:+.1f} points"


def _machine(jobs: int | None, *, cpu: bool) -> Machine:
    gpus: list[str] = []
    if not cpu:
        import torch

        numbers = ",".join(map(str, range(torch.cuda.device_count())))
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", numbers).split(",") if numbers else []
    return Machine(cores(), gpus, jobs or len(gpus) or cores())
