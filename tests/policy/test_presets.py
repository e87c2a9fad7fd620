"""Presets for real models: the published values, and one that runs here from end to end."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from azr.command import resolve
from azr.nursery.tokenizer import build_tokenizer
from tests.policy.test_trouble import error_line
from tests.runs import azr, events, metrics, only_run

PAPER = {
    "paper": "Qwen/Qwen2.5-7B",
    "paper-coder-3b": "Qwen/Qwen2.5-Coder-3B",
    "paper-coder-7b": "Qwen/Qwen2.5-Coder-7B",
    "paper-coder-14b": "Qwen/Qwen2.5-Coder-14B",
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets_hold_its_hyperparameters(name):
    config = resolve(name, [])
    play, generation, learner, algorithm = config.selfplay, config.generation, config.learner, config.algorithm
    assert config.model.name == PAPER[name]
    assert (config.steps, play.batch_size, play.references, play.samples, play.seed_factor) == (500, 64, 6, 8, 4)
    assert (generation.temperature, generation.top_p) == (1.0, 1.0)
    assert (generation.max_prompt_tokens, generation.max_propose_tokens, generation.max_solve_tokens) == (
        6144,
        8096,
        8096,
    )
    assert (learner.lr, learner.schedule, learner.grad_clip, learner.epochs) == (1e-6, "constant", 1.0, 1)
    assert (algorithm.name, algorithm.clip_low, algorithm.clip_high, algorithm.kl_coefficient) == (
        "trr++",
        0.2,
        0.2,
        0.0,
    )
    assert (algorithm.entropy_coefficient, config.buffer.cap) == (0.001, 16384)
    assert (config.domain.induction_inputs, config.domain.induction_shown) == (10, 5)
    assert not play.learn_from_samples


@pytest.fixture(scope="module")
def distilgpt2(tmp_path_factory):
    """distilgpt2's architecture with random weights."""
    folder = tmp_path_factory.mktemp("distilgpt2")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = AutoModelForCausalLM.from_config(
        GPT2Config(n_layer=6, eos_token_id=tokenizer.eos_token_id, bos_token_id=None)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_distilgpt2_runs_on_a_cpu_though_nothing_that_it_proposes_is_valid(distilgpt2, tmp_path):
    words = ["--model", distilgpt2, "--steps", 5, "threads=1", "--output-dir", "out"]
    shorter = ["generation.max_propose_tokens=12", "generation.max_solve_tokens=8", "selfplay.samples=2"]
    done = azr("train", "distilgpt2-cpu", *words, *shorter, cwd=tmp_path, timeout=1200)  # 82 million weights
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "out")
    steps = [line for line in metrics(run) if "kinds" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    # Honest counts: every proposal is refused, for a reason that is shown, and no task is made up.
    assert all(values["valid"] == 0 for line in steps for values in line["kinds"].values())
    assert all(sum(values["proposals"].values()) == 2 for line in steps for values in line["kinds"].values())
    assert not [event for event in events(run) if event["event"] == "task"]
    assert "seeding: 1 of 2 deduction tasks after 2 proposals" in done.stdout
    assert (run / "model" / "model.safetensors").is_file()
    assert json.loads((run / "model" / "config.json").read_text())["model_type"] == "gpt2"


@pytest.mark.slow
def test_without_leave_to_play_on_such_a_model_ends_in_seeding(distilgpt2, tmp_path):
    words = ["selfplay.seed_shortfall=stop", "evaluation.tasks=0", "--output-dir", "out"]
    done = azr("train", "distilgpt2-cpu", "--model", distilgpt2, *words, cwd=tmp_path)
    assert "deduction tasks after 2 proposals (" in error_line(done)
