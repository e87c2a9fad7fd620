"""`kill -9` or a request to stop at any moment, then `--resume`: the run goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tests.runs import forkserver, metrics, only_run, tiny_config

STEPS = 4


def _start(config: Path, out: Path, words: Sequence[str] = ()) -> None:
    from azr.train.start import start_run

    start_run(str(config), [f"output_dir={out}", *words])


def _resume(run: Path) -> None:
    from azr.train.start import resume_run

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


@pytest.mark.parametrize("most", [2, pytest.param(20, marks=pytest.mark.slow)])
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


# Requests to stop, sent by the process to itself at the n-th call of a function, which is then carried on with


def _start_and_signal(config: Path, out: Path, place: str, call: int, signals: int, words: list[str]) -> None:
    from azr.train.start import start_run
    from azr.train.stopping import Stop

    module, owner, name = place.split(":")
    whole, asked, calls = getattr(import_module(module), owner), threading.Semaphore(0), iter(range(1, 1_000_000))
    plain, ask = getattr(whole, name), Stop._ask

    def signalled(*args, **options):
        if next(calls) == call:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
                if threading.current_thread() is not threading.main_thread():
                    asked.acquire(timeout=20)  # where the loop was blocked, nobody would have asked
        return plain(*args, **options)

    setattr(whole, name, signalled)
    Stop._ask = lambda self: (asked.release(), ask(self))
    sys.exit(start_run(str(config), [f"output_dir={out}", *words]))


def stopped_run(config: Path, out: Path, place: str, call: int, *words: str, signals: int = 1) -> tuple[int, Path]:
    process = forkserver.Process(target=_start_and_signal, args=(config, out, place, call, signals, list(words)))
    process.start()
    process.join(timeout=200)
    return process.exitcode, only_run(out)


def newest(run: Path) -> str:
    return max(path.name for path in (run / "checkpoints").glob("[0-9]*"))


PLAYING = "azr.selfplay.solve:Solver:attempt"
SEEDING = "azr.selfplay.step:SelfPlay:_settle"  # once for each batch, then once for each step
LEARNING = "azr.learn.objective:Objective:share"  # once for each micro-batch, of which a step here has one
SAVING = "azr.learn.learner:PolicyLearner:save"


@pytest.mark.parametrize(
    ("place", "call", "saved", "every"),
    [
        pytest.param(SEEDING, 2, "000000", 1, id="seeding", marks=pytest.mark.slow),
        pytest.param(PLAYING, 20, None, 10, id="playing"),
        pytest.param(LEARNING, 3, "000002", 1, id="learning", marks=pytest.mark.slow),
        # where the state before the step was not saved yet
        pytest.param(LEARNING, 3, "000002", 10, id="learning-unsaved"),
        pytest.param(SAVING, 3, "000002", 1, id="saving", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_as_if_nothing_had_happened(
    uninterrupted, tmp_path, place, call, saved, every
):
    config, whole, _ = uninterrupted
    code, run = stopped_run(config, tmp_path / "runs", place, call, f"checkpoint.every={every}")
    assert code == 3
    assert newest(run) == (saved or newest(run)) < f"{STEPS:06d}"
    assert len(metrics(run)) == int(newest(run))  # what was abandoned has left nothing behind
    finish(_resume, run)
    assert contents(run) == contents(whole)


EVALUATING = "azr.train.training:Training:_evaluate_if_due"  # once before each step
EVALUATED = ["evaluation.tasks=2", "evaluation.every=1"]


@pytest.mark.parametrize("call", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_an_evaluation_that_was_stopped_is_made_once(uninterrupted, evaluated, tmp_path, call):
    code, run = stopped_run(uninterrupted[0], tmp_path / "runs", EVALUATING, call, *EVALUATED)
    assert (code, newest(run)) == (3, f"{call - 1:06d}")
    finish(_resume, run)
    assert contents(run) == contents(evaluated)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 10])
def test_an_evaluation_before_a_step_that_was_stopped_is_made_once(uninterrupted, evaluated, tmp_path, every):
    words = [*EVALUATED, f"checkpoint.every={every}"]
    code, run = stopped_run(uninterrupted[0], tmp_path / "runs", LEARNING, 3, *words)
    assert (code, newest(run)) == (3, "000002")
    finish(_resume, run)
    assert contents(run) == contents(evaluated)


@pytest.fixture(scope="module")
def evaluated(uninterrupted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    finish(_start, uninterrupted[0], folder / "runs", EVALUATED)
    return only_run(folder / "runs")


def test_seeding_that_was_stopped_is_not_begun_anew(uninterrupted, tmp_path):
    config, _, _ = uninterrupted
    _, run = stopped_run(config, tmp_path / "runs", SEEDING, 2)
    assert not (run / "seed.jsonl").exists()
    assert (run / "events.jsonl").read_text()


def test_an_update_that_has_moved_weights_is_finished_and_saved(uninterrupted, tmp_path):
    config, _, _ = uninterrupted
    code, run = stopped_run(config, tmp_path / "runs", LEARNING, 4, "learner.minibatches=2", "checkpoint.every=10")
    assert (code, newest(run), len(metrics(run))) == (3, "000002", 2)


def test_an_update_that_has_not_moved_weights_is_abandoned_and_the_steps_before_it_are_saved(uninterrupted, tmp_path):
    config, _, _ = uninterrupted
    code, run = stopped_run(config, tmp_path / "runs", LEARNING, 5, "learner.minibatches=2", "checkpoint.every=10")
    assert (code, newest(run), len(metrics(run))) == (3, "000002", 2)


def test_two_requests_end_a_run_at_once_and_it_can_be_resumed(uninterrupted, tmp_path):
    config, whole, _ = uninterrupted
    code, run = stopped_run(config, tmp_path / "runs", LEARNING, 3, signals=2)
    assert code not in (0, 3)
    finish(_resume, run)
    assert contents(run) == contents(whole)
