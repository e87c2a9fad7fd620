"""A new run from another's checkpoint: the same run without a change, other settings that take effect, refusals."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from azr.config import LearnerConfig
from azr.errors import UserError
from azr.learn.optimizer import Optimizer
from azr.report.build import report
from azr.run.checkpoint import Checkpoints
from azr.train.fork import Fork
from tests.report.test_build import data_of
from tests.runs import azr, metrics, only_run, tiny_config
from tests.test_cli import error_line
from tests.train.test_resume import contents


@pytest.fixture(scope="module")
def parent(apprentice, tmp_path_factory) -> Path:
    """A finished run of four steps with all its checkpoints."""
    folder = tmp_path_factory.mktemp("parent")
    done = azr("train", tiny_config(folder, apprentice, steps=4), "checkpoint.keep=9", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "runs")


def test_a_fork_without_a_change_does_what_its_parent_did(parent, tmp_path):
    done = azr("train", "--fork", f"{parent}@2", "--output-dir", tmp_path / "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(only_run(tmp_path / "runs")) == contents(parent)


def test_a_fork_with_other_settings_shares_the_steps_before_and_learns_by_its_own(parent, tmp_path):
    words = ["learner.lr=2e-4", "learner.betas=[0.8,0.9]", "algorithm.name=grpo", "steps=3"]
    done = azr("train", "--fork", f"{parent}@2", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fork = only_run(tmp_path / "runs")
    assert metrics(fork)[:2] == metrics(parent)[:2]
    assert [line["learner"]["lr"] for line in metrics(fork)] == [1e-4, 1e-4, 2e-4]
    tree = tomllib.loads((fork / "config.toml").read_text())
    assert (tree["algorithm"]["name"], tree["learner"]["betas"]) == ("grpo", [0.8, 0.9])
    saved = torch.load(fork / "checkpoints" / "000003" / "optimizer.pt", weights_only=True)
    assert list(saved["optimizer"]["adam"]["param_groups"][0]["betas"]) == [0.8, 0.9]

    assert fork.name.startswith("tiny-fork-")
    assert json.loads((fork / "parent.json").read_text()) == {"run": str(parent), "step": 2}
    assert f"{parent.name}@2" in azr("runs", cwd=tmp_path).stdout
    (shown,) = data_of(report([fork]).read_text())["runs"]
    assert shown["about"]["forked from"] == f"{parent.name}@2"


def test_without_a_step_the_newest_checkpoint_is_forked(parent):
    fork = Fork(str(parent), ["steps=5"])
    assert fork.config.steps == 5
    assert fork._checkpoint.name == "000004"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model.name=nursery", "model.name: a fork cannot change it, because weights"),
        ("model.lora={rank=4}", "model.lora.rank: a fork cannot change it"),
        ("model.dtype=bfloat16", "model.dtype: a fork cannot change it"),
        ('domain.kinds=["deduction"]', "domain.kinds: a fork cannot change it, because buffers"),
        ("evaluation.tasks=5", "evaluation.tasks: a fork cannot change it"),
        ("learner.optimizer=adamw-8bit", "learner.optimizer: a fork cannot change it"),
        ("learner.token_budget=99", "learner.token_budget: a fork cannot change it"),
        ("selfplay.learn=false", "selfplay.learn: a fork cannot change it"),
        ("algorithm.name=ppo", "its critic has no state"),
        ("learner.rl=1", "unknown key learner.rl; did you mean lr?"),
        ("steps=2", "@2: all 2 steps are done; add, for example, steps=4"),
    ],
)
def test_what_a_fork_cannot_change_is_told(parent, word, expected):
    with pytest.raises(UserError) as refused:
        Fork(f"{parent}@2", [word])
    assert expected in str(refused.value)


def test_how_the_model_is_run_may_change(parent):
    assert Fork(f"{parent}@2", ["model.gradient_checkpointing=true"]).config.model.gradient_checkpointing


def test_a_step_without_a_checkpoint_is_told_with_those_that_there_are(parent):
    with pytest.raises(UserError, match=r"no checkpoint after step 7; there are 0, 1, 2, 3, 4; checkpoint\.keep"):
        Fork(f"{parent}@7", [])


def test_a_checkpoint_of_seeding_is_refused(parent, tmp_path):
    (tmp_path / "config.toml").write_text((parent / "config.toml").read_text())
    state = json.loads((parent / "checkpoints" / "000001" / "state.json").read_text())
    (tmp_path / "checkpoints" / "000000").mkdir(parents=True)
    (tmp_path / "checkpoints" / "000000" / "state.json").write_text(json.dumps(state | {"step": 0, "seeding": {}}))
    with pytest.raises(UserError, match="when the buffers were seeded; fork later"):
        Fork(str(tmp_path), [])


def test_a_fork_that_cannot_be_written_leaves_nothing_behind(parent, tmp_path):
    fork = Fork(f"{parent}@2", [f"output_dir={tmp_path}"])
    fork._parent = tmp_path / "removed"
    with pytest.raises(UserError, match="no such file or directory"):
        fork.create(fork.config)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_found_by_its_step(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint$"):
        Checkpoints(tmp_path, keep=1).at(None)


def test_a_restored_optimizer_keeps_its_own_settings():
    weights = [torch.nn.Parameter(torch.ones(2))]
    saved = Optimizer(weights, LearnerConfig(lr=1e-3, weight_decay=0.5)).state()
    other = Optimizer(weights, LearnerConfig(lr=1e-3, weight_decay=0.25, betas=(0.5, 0.5)))
    other.restore(saved)
    (group,) = other.state()["adam"]["param_groups"]
    assert (group["weight_decay"], group["betas"]) == (0.25, (0.5, 0.5))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fork", "nowhere"], "nowhere: no config.toml there"),
        (["demo", "--fork", "nowhere"], "omit the preset"),
        (["--resume", "a", "--fork", "b"], "use only one of them"),
    ],
)
def test_a_command_that_is_wrong_is_one_line(tmp_path, words, expected):
    assert expected in error_line(azr("train", *words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []
