"""Runs whose model is trained and sampled by a Tinker service, by the public command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("tinker", reason="needs the extra `tinker`: pip install 'azr[tinker]'")

from tests.runs import azr, events, metrics, only_run, tiny_config
from tests.tinker.fake import KEY, NAME, FakeTinker, serving

pytestmark = pytest.mark.slow

SMALL = [
    *('domain.kinds=["deduction"]', "selfplay.batch_size=2", "selfplay.samples=2", "selfplay.seed_factor=1"),
    *("generation.max_propose_tokens=40", "generation.max_solve_tokens=20", "output_dir=runs"),
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def environment(tmp_path):
    return {"TINKER_API_KEY": KEY, "HOME": str(tmp_path)}


def words(fake: FakeTinker, tokenizer: Path, *more: str) -> list[str]:
    return [*SMALL, f"model.name=tinker:{NAME}", f"model.tinker.url={fake.url}", f"model.tokenizer={tokenizer}", *more]


@pytest.fixture
def train(apprentice, tmp_path, environment):
    """Start a short run on a service; what it said, and its folder."""

    def start(fake: FakeTinker, *more: str):
        config = tiny_config(tmp_path, apprentice)
        done = azr("train", config, *words(fake, apprentice, *more), cwd=tmp_path, env=environment)
        return done, only_run(tmp_path / "runs")

    return start


def whole(run: Path, steps: int, stale: int = 0) -> None:
    """Every rollout of every step is there once, with the version of the weights that sampled it."""
    for step in range(1, steps + 1):
        written = [event for event in events(run) if event["step"] == step]
        drawn = [event for event in written if event["event"] in ("proposal", "attempt")]
        assert len({event["id"] for event in drawn}) == len(drawn) > 0
        assert {event["version"] for event in drawn} <= {*range(max(0, step - 1 - stale), step)}
    assert [line["step"] for line in metrics(run) if "learner" in line] == [*range(1, steps + 1)]


def test_a_run_learns_on_the_service_and_ends_with_its_adapter(apprentice, train):
    with serving(apprentice, chunk=3) as fake:
        done, run = train(fake)
    assert done.returncode == 0, done.stderr
    whole(run, steps=3)
    assert {event["version"] for event in events(run) if event["event"] == "attempt" and event["step"] == 3} == {2}
    learnt = [line["learner"] for line in metrics(run) if "learner" in line]
    assert max(line["mismatch_kl"] for line in learnt) < 1e-6
    assert len(fake.asked("optim_step")) == 3
    assert (run / "model" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert (run / "model" / "tokenizer.json").is_file()
    assert set(fake.finished.values()) == {"success"}


def resume(run: Path, environment, *more: str):
    return azr("train", "--resume", run, *more, cwd=run.parents[1], env=environment)


def test_a_run_that_is_killed_goes_on_from_the_state_that_the_service_saved(apprentice, tmp_path, environment):
    with serving(apprentice) as fake:
        config = tiny_config(tmp_path, apprentice)
        command = [sys.executable, "-m", "azr", "train", str(config), *words(fake, apprentice)]
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment, stdout=subprocess.DEVNULL)
        # In its second step the run dies, after it has saved the first.
        fake.before = lambda route, count: (
            process.send_signal(signal.SIGKILL) if (route, count) == ("optim_step", 1) else None
        )
        assert process.wait(timeout=240) == -signal.SIGKILL
        run = only_run(tmp_path / "runs")
        saved = json.loads((sorted((run / "checkpoints").glob("[0-9]*"))[-1] / "tinker.json").read_text())
        fake.before = lambda route, count: None
        done = resume(run, environment)
    assert done.returncode == 0, done.stderr
    assert saved["updates"] == 1
    assert [request.path for request in fake.asked("load_weights")] == [saved["path"]]
    assert fake.asked("load_weights")[0].optimizer
    whole(run, steps=3)


def test_a_lost_session_ends_the_run_in_one_line_and_the_run_can_be_resumed(apprentice, train, environment):
    with serving(apprentice) as fake:

        def lose(route: str, count: int) -> None:
            if (route, count) == ("optim_step", 1):
                fake.lose_sessions()

        fake.before = lose
        done, run = train(fake)
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if "error" in line]
        assert "session" in line
        assert "azr train --resume" in line
        done = resume(run, environment)
    assert done.returncode == 0, done.stderr
    whole(run, steps=3)


def test_failures_that_pass_are_repeated_by_the_client(apprentice, train):
    failing = {("asample", 1): 429, ("forward_backward", 1): 503, ("retrieve_future", 3): 500, ("optim_step", 0): 500}
    with serving(apprentice) as fake:
        fake.before = lambda route, count: failing.get((route, count))
        done, run = train(fake)
    assert done.returncode == 0, done.stderr
    whole(run, steps=3)


def test_a_run_can_be_exported_and_forked(apprentice, train, tmp_path, environment):
    with serving(apprentice) as fake:
        done, run = train(fake, "checkpoint.keep=3")
        assert done.returncode == 0, done.stderr
        saved = {
            step: json.loads((run / f"checkpoints/00000{step}/tinker.json").read_text())["path"] for step in (1, 3)
        }
        done = azr("export", run, "--to", "exported", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        done = azr("train", "--fork", f"{run}@1", "learner.lr=1e-3", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
    assert [request.path for request in fake.asked("load_weights")] == [saved[3], saved[1]]
    assert [request.optimizer for request in fake.asked("load_weights")] == [False, True]
    assert (tmp_path / "exported" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert "3 steps" in (tmp_path / "exported" / "README.md").read_text()
    (fork,) = (path for path in (tmp_path / "runs").iterdir() if path != run)
    whole(fork, steps=3)
