"""Does a long run stay as fast and as small as it began?

Plays `--steps` steps of the tests' tiny model, with a learning rate so small that lengths stay the same, and compares
the last fifty steps with the first fifty: seconds per thousand sampled tokens (wall time, and processor time of this
process, which other work on the machine does not stretch), and resident memory after step 50.

    python bench/soak.py [--steps 300]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from processes import resident_megabytes

from azr.run.directory import RunDirectory
from azr.sandbox import make_sandbox
from azr.settings import dump
from azr.train.start import make_parts, resolve
from azr.train.trackers.feed import Feed
from azr.train.training import Training
from tests.apprentice import make_apprentice
from tests.runs import tiny_config

WINDOW = 50


class Meter:
    """A screen that measures: cost of every step, and memory after it."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []
        self.resident: list[float] = []
        self._used = time.process_time()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, flush=True)

    def doing(self, what: str) -> None:
        pass

    def step(self, metrics: Mapping[str, Any]) -> None:
        tokens = sum(role["tokens"] * role["rollouts"] for role in metrics["roles"].values())
        used = time.process_time()
        self.wall.append(metrics["seconds"]["step"] / tokens * 1000)
        self.processor.append((used - self._used) / tokens * 1000)
        self._used = used
        self.resident.append(resident_megabytes([os.getpid()]))
        if metrics["step"] % WINDOW == 0:
            spent = f"{self.wall[-1]:.3f} s per 1,000 tokens, {self.resident[-1]:.0f} MiB"
            print(f"step {metrics['step']}: {spent}", flush=True)


def main() -> int:
    """Run the soak; exit code 1 where it grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    if steps < WINDOW:
        parser.error(f"--steps: {WINDOW} at least, as medians are taken over so many")
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        model = make_apprentice(Path(folder) / "model")
        source = tiny_config(Path(folder), model, steps=steps)
        config = resolve(str(source), ["learner.lr=1e-9", "checkpoint.every=10", "buffer.cap=256"])
        asyncio.run(_play(config, RunDirectory.create(Path(folder) / "runs", "soak", dump(config)), meter))
    slower = {name: _growth(name, cost) for name, cost in (("wall", meter.wall), ("processor", meter.processor))}
    begin, end = meter.resident[WINDOW - 1], meter.resident[-1]
    print(f"resident memory: {begin:.0f} MiB after step {WINDOW}, {end:.0f} MiB at the end: x {end / begin:.3f}")
    return int(slower["wall"] > 1.10 or end / begin > 1.05)


def _growth(name: str, cost: list[float]) -> float:
    """Print and return how many times dearer the last steps are than the first."""
    first, last = statistics.median(cost[:WINDOW]), statistics.median(cost[-WINDOW:])
    print(
        f"{name} seconds per 1,000 tokens, median of {WINDOW} steps: {first:.3f}, then {last:.3f}: x {last / first:.3f}"
    )
    return last / first


async def _play(config: Any, run: RunDirectory, meter: Meter) -> None:
    sandbox = make_sandbox(**config.sandbox.choice)
    try:
        with run, Feed({}, config, run.path, print) as feed:
            await Training(config, run, make_parts(config, sandbox), meter, feed).run()
    finally:
        await sandbox.close()


if __name__ == "__main__":
    sys.exit(main())
