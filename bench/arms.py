"""The command line of a benchmark that trains the arms of a preset, keeps what they show in a table, and judges it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from azr.sweep.command import sweep
from azr.sweep.grid import Sweep


def main(
    description: str | None,
    preset: str,
    arms: Mapping[str, Sequence[str]],
    table: Path,
    collect: Callable[[Path], dict[str, Any]],
    verdict: Callable[[dict[str, Any]], Iterable[str]],
) -> None:
    """Read the command line: `run` trains what is missing, `collect` writes the table, and all print the verdict.

    Args:
        description: of the benchmark.
        preset: that the arms share.
        arms: settings by name.
        table: JSON file.
        collect: makes the table from a folder of runs.
        verdict: lines that the table says.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "collect", "verdict"))
    parser.add_argument("overrides", nargs="*", help="of the preset, KEY=VALUE")
    parser.add_argument("--arms", nargs="*", choices=list(arms), default=list(arms))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs") / preset)
    options = parser.parse_intermixed_args()
    if options.what == "run":
        wanted = Sweep(preset, {arm: arms[arm] for arm in options.arms}, options.seeds, options.overrides)
        if code := sweep(wanted, options.runs, options.jobs):
            sys.exit(code)
    if options.what != "verdict":
        table.parent.mkdir(exist_ok=True)
        table.write_text(json.dumps(collect(options.runs)) + "\n", encoding="utf-8")
    print("\n".join(verdict(json.loads(table.read_text(encoding="utf-8")))))
