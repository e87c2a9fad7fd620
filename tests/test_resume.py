"""`kill -9` at any moment, then `--resume`: the run goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.runs import forkserver, metrics, only_run, tiny_config

STEPS = 4


def _start(config: Path, out: Path) -> None:
    from azr.command import start_run

    start_run(str(config), [f"output_dir={out}"])


def _resume(run: Path) -> None:
    from azr.command import resume_run

    resume_run(run, [])


def finish(target, *args) -> float:
    """Run to the end; seconds that it took."""
    begin = time.monotonic()
    process = forkserver.Process(target=target, args=args)
    process.start()
    process.join(timeout=200)
    assert process.exitcode == 0
    return time.monotonic() - begin


def kill(after: float, target, *args) -> bool:
    """Run for so long, then `kill -9`; whether it was still running."""
    process = forkserver.Process(target=target, args=args)
    process.start()
    process.join(timeout=after)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive and process.exitcode == -signal.SIGKILL


def contents(run: Path) -> dict[str, object]:
    (newest,) = sorted((run / "checkpoints").glob("[0-9]*"))[-1:]
    return {
        "weights": (run / "model" / "model.safetensors").read_bytes(),
        "optimizer": (newest / "optimizer.pt").read_bytes(),
        "buffer": (newest / "buffer.jsonl").read_bytes(),
        "seed": (run / "seed.jsonl").read_bytes(),
        "events": (run / "events.jsonl").read_bytes(),
        "metrics": metrics(run),
    }


@pytest.fixture(scope="module")
def uninterrupted(apprentice, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = tiny_config(folder, apprentice, steps=STEPS)
    seconds = finish(_start, config, folder / "runs")
    return config, only_run(folder / "runs"), seconds


@pytest.mark.parametrize("most", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(uninterrupted, tmp_path, most):
    config, whole, seconds = uninterrupted
    rng, kills, runs = random.Random(0), 0, 0
    while kills < most:
        runs += 1
        out = tmp_path / str(runs)
        kills += kill(rng.uniform(0.05, 0.5) * seconds, _start, config, out)
        while kills < most and kill(rng.uniform(0.05, 0.5) * seconds, _resume, only_or_new(out, config)):
            kills += 1
        run = only_or_new(out, config)
        finish(_resume, run)
        assert contents(run) == contents(whole)


def only_or_new(out: Path, config: Path) -> Path:
    """The run in a folder; killed before there was one, it is simply started."""
    if not out.exists() or not [path for path in out.iterdir() if not path.name.startswith(".")]:
        finish(_start, config, out)
    return only_run(out)


def test_equal_seeds_give_equal_runs(uninterrupted, tmp_path):
    config, whole, _ = uninterrupted
    finish(_start, config, tmp_path / "runs")
    assert contents(only_run(tmp_path / "runs")) == contents(whole)
