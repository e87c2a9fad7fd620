"""Presets for real models: the published values, and one that runs here from end to end."""

import json
from importlib import resources

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from azr.train.start import resolve
from nursery.tokenizer import build_tokenizer
from tests.models.test_failures import error_line
from tests.runs import azr, events, metrics, only_run

MODELS = {
    "paper": "Qwen/Qwen2.5-7B",
    "paper-coder-3b": "Qwen/Qwen2.5-Coder-3B",
    "paper-coder-7b": "Qwen/Qwen2.5-Coder-7B",
    "paper-coder-14b": "Qwen/Qwen2.5-Coder-14B",
}

PAPER = {
    "steps": 500,
    "domain.name": "python",
    "domain.kinds": ["deduction", "abduction", "induction"],
    "domain.style": "r1",
    "domain.induction_inputs": 10,
    "domain.induction_shown": 5,
    "domain.composite_share": 0.0,
    "selfplay.batch_size": 64,
    "selfplay.references": 6,
    "selfplay.reference_sampling": "uniform",
    "selfplay.samples": 8,
    "selfplay.learn_from_samples": False,
    "selfplay.solver_mix": "new_first",
    "selfplay.train_proposer": True,
    "selfplay.seed_factor": 4,
    "buffer.cap": 16384,
    "buffer.reject_duplicates": False,
    "generation.temperature": 1.0,
    "generation.top_p": 1.0,
    "generation.max_prompt_tokens": 6144,
    "generation.max_propose_tokens": 8096,
    "generation.max_solve_tokens": 8096,
    "rewards.profile": "paper",
    "rewards.wrong": -0.5,
    "rewards.malformed": -1.0,
    "rewards.partial_credit": False,
    "algorithm.name": "trr++",
    "algorithm.whiten": "rollout",
    "algorithm.kl_coefficient": 0.0,
    "algorithm.entropy_coefficient": 0.001,
    "learner.lr": 1e-6,
    "learner.schedule": "constant",
    "learner.warmup_steps": 0,
    "learner.grad_clip": 1.0,
    "learner.epochs": 1,
    "learner.minibatches": 1,
}
"""The paper's section 4.1 and its table of hyperparameters, Eq. 4 to 8, and Algorithm 1."""

NEUTRAL = {
    "algorithm.dual_clip": None,
    "algorithm.importance_cap": None,
    "buffer.shape_limit": None,
    "rewards.complexity.coefficient": 0.0,
    "rewards.diversity.coefficient": 0.0,
    "rewards.novelty.coefficient": 0.0,
    "selfplay.learn": True,
    "selfplay.seed_file": None,
}
"""What azr can add to the paper's algorithm, turned off."""


def flat(tree, path=""):
    """Dotted keys and their values."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield path + key, value


@pytest.mark.parametrize("name", MODELS)
def test_the_papers_presets_hold_its_values_and_add_nothing(name):
    config = dict(flat(resolve(name, []).model_dump(mode="json")))
    expected = {"model.name": MODELS[name], **PAPER, **NEUTRAL}
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("name", MODELS)
def test_a_value_of_a_papers_preset_that_is_not_the_papers_is_marked_as_ours(name):
    text = resources.files("azr.presets").joinpath(f"{name}.toml").read_text("utf-8")
    section, written = "", set()
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line and not line.startswith("#"):
            key = section + line.split(" = ")[0]
            written.add(key)
            assert ("# ours" in line) == (key not in PAPER and key != "model.name"), line
    assert written >= set(PAPER)


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
