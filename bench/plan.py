"""Does a run take as long as `azr plan` says?

Plays the plan's trial, then a real run of the same configuration, in one process, and prints what was predicted beside
what was taken: a step, the whole run, and bytes of events. By this process's processor time,
which other work on the machine does not stretch (the sandbox's processes are left out on both sides), or by the clock.

    python bench/plan.py [--clock processor] PRESET_OR_FILE [KEY.SUB=VALUE]...
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from azr.config import Config
from azr.plan.trial import Trial, times, try_out
from azr.run.directory import EVENTS, RunDirectory
from azr.sandbox import make_sandbox
from azr.settings import dump
from azr.train.start import make_parts, resolve
from azr.train.trackers.feed import Feed
from azr.train.training import Training


class Marks:
    """A screen that notes what steps take."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.lengths: list[float] = []

    def __enter__(self) -> Marks:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def doing(self, what: str) -> None:
        pass

    def step(self, metrics: Mapping[str, Any]) -> None:
        self.steps.append(metrics["seconds"]["step"])
        self.lengths.append(metrics["roles"]["solve"]["tokens"])


async def tried(config: Config) -> Trial:
    sandbox = make_sandbox(**config.sandbox.choice)
    try:
        return await try_out(config, make_parts(config, sandbox))
    finally:
        await sandbox.close()


async def taken(config: Config, folder: Path) -> tuple[float, Marks]:
    """The run's whole time without loading the model, and its steps'."""
    sandbox, marks = make_sandbox(**config.sandbox.choice), Marks()
    try:
        parts = make_parts(config, sandbox)
        run = RunDirectory.create(folder, "run", dump(config))
        with run, Feed({}, config, run.path, marks.say) as feed:
            begin = time.perf_counter()
            await Training(config, run, parts, marks, feed).run()
            return time.perf_counter() - begin, marks
    finally:
        await sandbox.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=["processor", "wall"], default="processor")
    parser.add_argument("words", nargs="+")
    arguments = parser.parse_args()
    if arguments.clock == "processor":
        time.perf_counter = time.process_time
    source, *assignments = arguments.words
    config = resolve(source, assignments)
    torch.set_num_threads(config.threads or 1)
    trial = asyncio.run(tried(config))
    predicted = times(config, trial)
    with tempfile.TemporaryDirectory() as folder:
        whole, marks = asyncio.run(taken(config, Path(folder)))
        (events,) = Path(folder).glob("run*/" + EVENTS)
        written = events.stat().st_size
    print(f"{' '.join(arguments.words)}, by {arguments.clock} time; trial with {trial.batch} proposals of each kind")
    step = statistics.mean(marks.steps)
    for name, guessed, real, unit in (
        ("a step", predicted.step, step, "s"),
        ("the run", predicted.run, whole, "s"),
        (
            "events",
            trial.events * config.selfplay.batch_size / trial.batch * config.steps / 2**20,
            written / 2**20,
            "MiB",
        ),
    ):
        print(
            f"{name:<8} predicted {guessed:8.2f} {unit}, taken {real:8.2f} {unit}: x {guessed / real:.2f}", flush=True
        )
    print(f"steps: min {min(marks.steps):.2f} median {statistics.median(marks.steps):.2f} s, runs {len(marks.steps)}")
    print(f"tokens an attempt: {marks.lengths[0]:.1f} in the first step, {marks.lengths[-1]:.1f} in the last")


if __name__ == "__main__":
    main()
