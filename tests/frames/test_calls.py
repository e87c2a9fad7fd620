"""Training and evaluation from Python, also where an event loop is running already, as in a notebook."""

import asyncio
import os
import signal
import threading

import pytest

import azr
from azr.concurrency import outside_loop
from azr.errors import UserError
from azr.train.call import _assignments
from tests.runs import tiny_config


def runs_a_loop() -> str:
    return asyncio.run(asyncio.sleep(0, "done"))


def test_without_a_loop_work_is_done_in_this_thread():
    assert outside_loop(threading.current_thread) is threading.current_thread()


async def test_with_a_loop_work_may_run_one_of_its_own():
    assert outside_loop(runs_a_loop) == "done"


async def test_with_a_loop_an_error_of_the_work_is_raised():
    with pytest.raises(UserError, match="no such preset or file"):
        azr.train("nothing-like-this")


def test_settings_are_assignments_of_the_command_line():
    settings = {
        "steps": 3,
        "learner": {"lr": 1e-4},
        "model.served": None,
        "domain.kinds": ["deduction"],
        "model.name": "a",
    }
    assert list(_assignments(settings)) == [
        "steps=3",
        "learner.lr=0.0001",
        "model.served=null",
        'domain.kinds=["deduction"]',
        'model.name="a"',
    ]


def test_an_unknown_key_is_refused_as_on_the_command_line():
    with pytest.raises(UserError, match=r"demo: unknown key learner.rl; did you mean lr\?"):
        azr.train("demo", {"learner.rl": 1})


def test_an_evaluation_of_nothing_known_is_refused_as_on_the_command_line(tmp_path):
    with pytest.raises(UserError, match=r"--bench nothing: no such benchmark"):
        azr.evaluate("nursery", "nothing", out=tmp_path)


@pytest.mark.slow
async def test_a_run_is_trained_and_evaluated_within_a_running_loop(tmp_path, apprentice, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = azr.train(tiny_config(tmp_path, apprentice, steps=1), {"output_dir": "runs", "evaluation.tasks": 2})
    assert run.path.parent.name == "runs"
    assert run.metrics["step"].tolist() == [1]
    assert set(run.evaluations["step"]) == {0, 1}
    resumed = azr.train(resume=run, settings={"steps": 2})
    assert resumed.metrics["step"].tolist() == [1, 2]
    found = azr.evaluate(run, "python", limit=2, max_tokens=20)
    assert found.equals(azr.Run(run.path).benchmarks)
    assert found["problems"].max() >= 2


@pytest.mark.slow
async def test_an_interrupt_stops_a_run_in_a_running_loop_and_saves_it(tmp_path, apprentice, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tiny_config(tmp_path, apprentice, steps=10_000)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt_after_the_first_step():
        for _ in range(2400):
            if list(tmp_path.glob("runs/*/checkpoints/000001")):
                break
            threading.Event().wait(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_after_the_first_step, daemon=True).start()
    try:
        run = azr.train(path, {"output_dir": "runs"})
    finally:
        signal.signal(signal.SIGINT, before)
    assert 1 <= len(run.metrics) < 10_000
    assert list(run.path.glob("checkpoints/*/state.json"))
