"""`azr export RUN`: the newest checkpoint as a plain model, in a folder that is whole or absent."""

import asyncio

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from azr.config import AlgorithmConfig, LearnerConfig, LoRAConfig, ModelConfig
from azr.domains import registry
from azr.errors import UserError
from azr.export.model import export_model, new_folder
from azr.learn.base import TrainSample
from azr.learn.learner import PolicyLearner
from azr.models.load import load_model
from azr.run.checkpoint import Checkpoints, State
from azr.run.directory import RunDirectory
from azr.settings import build, dump
from tests.tiny import tiny_model


def trained_run(tmp_path, *, rank: int):
    """A run whose checkpoint after step 3 holds a model that has moved; the run and the model."""
    base = tiny_model(tmp_path / "base")
    tree = {"model": {"name": str(base), "device": "cpu", "lora": {"rank": rank}}, "domain": {"name": "python"}}
    config = build(tree, registry.config_class, source="test")
    policy = load_model(ModelConfig(name=str(base), device="cpu", lora=LoRAConfig(rank=rank)))
    learner = PolicyLearner(policy, LearnerConfig(lr=0.05), AlgorithmConfig(), temperature=1.0, total_steps=9, seed=0)
    sample = TrainSample(np.int32([5, 6]), np.int32([7, 8]), np.float32([-1, -1]), np.array([1.0, -1.0]))
    for _ in range(2):  # an adapter's first half moves with the second step only
        asyncio.run(learner.update([sample]))
    run = RunDirectory.create(tmp_path / "runs", "test", dump(config)).path
    (run / "metrics.jsonl").touch()
    Checkpoints(run, keep=2).save(State(step=3, lengths={}), [], learner.save)
    return run, policy


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 4])
def test_the_exported_model_computes_what_the_trained_one_does(tmp_path, rank):
    run, policy = trained_run(tmp_path, rank=rank)
    assert export_model(run, tmp_path / "out") == 3
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, policy.model(ids).logits, atol=1e-5, rtol=1e-5)
    assert "3 steps" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    config = build({"model": {"name": "m"}, "domain": {"name": "python"}}, registry.config_class, source="test")
    run = RunDirectory.create(tmp_path, "test", dump(config)).path
    with pytest.raises(UserError, match="no checkpoint with a model yet"):
        export_model(run, tmp_path / "out")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("dear to me")
    with pytest.raises(UserError, match="exists already"), new_folder(tmp_path):
        pytest.fail("must not get here")
    assert (tmp_path / "mine.txt").read_text() == "dear to me"


def test_what_fails_half_way_leaves_no_folder(tmp_path):
    def fail(folder):
        with new_folder(folder) as partial:
            (partial / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
