"""Runs with algorithm.name = ppo, by the public command."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from azr.analysis.ledger import ledger
from tests.runs import azr, events, metrics, only_run, tiny_config

WORDS = ["algorithm.name=ppo", "algorithm.ppo.critic_lr=1e-3", "learner.schedule=linear", "learner.minibatches=2"]


@pytest.fixture(scope="module")
def run(apprentice, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ppo")
    done = azr("train", tiny_config(folder, apprentice, steps=3), *WORDS, "--output-dir", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "out")


def test_a_run_by_ppo_has_the_directory_of_any_run(run):
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {"config.toml", "seed.jsonl", "events.jsonl", "metrics.jsonl", "checkpoints", "model"}
    for line in metrics(run):
        assert {"loss", "value_loss", "grad_norm", "entropy", "clip_share", "lr", "tokens"} <= set(line["learner"])


def test_advantages_of_the_critic_are_written_down_and_whitened(run):
    names = [event["id"] for event in events(run) if event["event"] == "reward" and event["step"] == 3]
    tokens = np.concatenate([ledger(run, name).passes[0].advantages for name in names])
    assert (tokens.mean(), tokens.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_a_resumed_run_by_ppo_goes_on_as_if_nothing_had_happened(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "000003")
    shutil.rmtree(copy / "model")
    done = azr("train", "--resume", copy, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("events.jsonl", "model/model.safetensors", "checkpoints/000003/optimizer.pt"):
        assert (copy / name).read_bytes() == (run / name).read_bytes(), name
    assert metrics(copy) == metrics(run)


@pytest.mark.slow
def test_ppo_learns_beside_frozen_weights_too(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice, steps=1)
    done = azr("train", config, *WORDS, "model.lora.rank=2", "--output-dir", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert metrics(only_run(tmp_path / "out"))[0]["learner"]["value_loss"] > 0


def rewards(run: Path) -> list[float]:
    found: dict[int, list[float]] = {}
    for event in events(run):
        if event["event"] == "reward":
            found.setdefault(event["step"], []).append(event["reward"])
    return [float(np.mean(found[step])) for step in sorted(found)]


@pytest.mark.slow  # its model is taught first
def test_the_reward_goes_up_by_ppo(tmp_path, tmp_path_factory):
    from tests.integrations.guesser import guesser_config, make_guesser

    config = guesser_config(tmp_path, make_guesser(tmp_path_factory.mktemp("guesser")), steps=10)
    done = azr(
        "train", config, "algorithm.name=ppo", "algorithm.ppo.critic_lr=1e-3", "--output-dir", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    by_step = rewards(only_run(tmp_path / "out"))
    assert np.mean(by_step[-3:]) > np.mean(by_step[:2]) + 0.1
