"""Absolute Zero inside a user's own GRPOTrainer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from azr.errors import UserError
from azr.train.start import resolve
from tests.integrations.guesser import guesser_config

# In a process of its own: importing TRL brings warnings with it that the other tests turn into errors.
USER = """
import json, os, sys, torch
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
torch.set_num_threads(1)
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from azr.sandbox import make_sandbox
from azr.train.start import resolve
from azr.integrations.trl import AbsoluteZero

path, model_path, out = sys.argv[1:]
config = resolve(path, ["selfplay.learn_from_samples=false"])
model = AutoModelForCausalLM.from_pretrained(model_path)
tokenizer = PreTrainedTokenizerFast.from_pretrained(model_path)
records, theirs = [], []
zero = AbsoluteZero(config, model, tokenizer, make_sandbox(**config.sandbox.choice), on_step=records.append)

class Trainer(GRPOTrainer):
    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        rows = zip(batch["completion_ids"].tolist(), batch["completion_mask"].sum(1).tolist(), batch["advantages"].tolist())
        theirs.append([(ids[:length], advantage) for ids, length, advantage in rows])
        return batch

arguments = GRPOConfig(output_dir=out, max_steps=config.steps, learning_rate=2e-3, report_to="none", save_strategy="no",
    logging_steps=1, use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, **zero.arguments)
trainer = Trainer(model=model, processing_class=tokenizer, args=arguments, train_dataset=zero.dataset,
    reward_funcs=zero.reward_funcs, rollout_func=zero.rollout_func)
trainer.train()
rollouts = [[(r.id, r.reward, r.cell, r.sample.completion_ids) for r in record.rollouts] for record in records]
logged = [log["rewards/self_play_reward/mean"] for log in trainer.state.log_history if "loss" in log]
json.dump({"rollouts": rollouts, "theirs": theirs, "logged": logged}, open(os.path.join(out, "result.json"), "w"))
"""


@pytest.fixture(scope="module")
def result(guesser, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("grpo")
    config = guesser_config(folder, guesser, steps=12)
    words = [sys.executable, "-c", USER, str(config), str(guesser), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


def eq_8(rollouts) -> dict[tuple[int, ...], list[float]]:
    """Advantages of a step by the tokens that they belong to, from the equation."""
    found: dict[tuple[int, ...], list[float]] = {}
    for _, reward, cell, ids in rollouts:
        rewards = np.array([r for _, r, c, _ in rollouts if c == cell])
        spread = rewards.std()
        found.setdefault(tuple(ids), []).append((reward - rewards.mean()) / spread if spread else 0.0)
    return found


@pytest.mark.slow
def test_trls_advantages_equal_trr(result):
    assert len(result["theirs"]) == 12
    for rollouts, theirs in zip(result["rollouts"], result["theirs"], strict=True):
        expected, got = eq_8(rollouts), {}
        for ids, advantage in theirs:
            got.setdefault(tuple(ids), []).append(advantage)
        assert got.keys() == expected.keys()
        for ids, values in expected.items():
            assert sorted(got[ids]) == pytest.approx(sorted(values), abs=1e-5)
        assert any(any(values) for values in expected.values())


@pytest.mark.slow
def test_trl_logs_the_rewards_of_the_step(result):
    expected = [np.mean([reward for _, reward, _, _ in rollouts]) for rollouts in result["rollouts"]]
    assert result["logged"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_the_reward_goes_up_in_a_users_trainer(result):
    assert np.mean(result["logged"][-3:]) > np.mean(result["logged"][:2]) + 0.1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "selfplay.learn_from_samples = false"),
        (["selfplay.learn_from_samples=false", "algorithm.name=grpo"], "the trainer has siblings of its own"),
        (["selfplay.learn_from_samples=false", "algorithm.whiten=token"], "whiten = token"),
        (["selfplay.learn_from_samples=false", "selfplay.seed_file=tasks.jsonl"], "are for azr train"),
        (["selfplay.learn_from_samples=false", "selfplay.search.gold=1"], "are for azr train"),
    ],
)
def test_a_configuration_that_trl_would_distort_is_refused(tmp_path, words, expected):
    from azr.integrations.trl import AbsoluteZero

    config = resolve(str(guesser_config(tmp_path, Path("none"), steps=1)), words)
    with pytest.raises(UserError, match=expected):
        AbsoluteZero(config, None, None, None)
