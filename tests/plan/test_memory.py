"""Counting memory: against what small runs on a CPU take, and by hand."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, Qwen2Config

from azr.domains.registry import config_class
from azr.plan.memory import count, shape_of
from azr.settings import build, dump
from tests.tiny import tiny_tokenizer

SHAPES = {
    "deep": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10, "vocab_size": 4000},
    "wide": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 3, "vocab_size": 8000},
    "tall": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 4, "vocab_size": 40000},
}
OPTIONS = {
    "deep": {"learner": {"token_budget": 2048}},
    "wide": {"learner": {"token_budget": 1024}},
    "tall": {"learner": {"token_budget": 1024}, "model": {"lora": {"rank": 8}}},
}


def settings_of(name, **changes):
    return Qwen2Config(
        **SHAPES[name] | changes,
        num_attention_heads=8,
        num_key_value_heads=4,
        eos_token_id=1,
        bos_token_id=None,
        use_cache=True,
    )


def config_of(name, folder="m"):
    tree = {
        "model": {"name": str(folder), "device": "cpu"} | OPTIONS[name].get("model", {}),
        "domain": {"name": "python"},
        "generation": {"max_prompt_tokens": 192, "max_propose_tokens": 64, "max_solve_tokens": 64, "max_rows": 8},
        "learner": OPTIONS[name]["learner"],
    }
    return build(tree, config_class, source="test")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_the_count_is_within_a_fifth_of_what_a_run_takes(name, tmp_path):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(settings_of(name)).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    config = config_of(name, tmp_path / "model")
    (tmp_path / "config.toml").write_text(dump(config))
    words = [sys.executable, "-m", "tests.plan.measure", str(tmp_path / "config.toml")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    grown, shortest = map(int, done.stdout.split())
    assert shortest == 64  # the run did go to its limits
    memory = count(shape_of(AutoConfig.from_pretrained(tmp_path / "model")), config, width=4)
    assert memory.peak == pytest.approx(grown, rel=0.2)


def test_the_cache_is_counted_at_full_length_with_slack():
    shape = shape_of(settings_of("wide"))  # 3 layers, 4 key heads of 128
    plain = count(shape, config_of("wide"), width=4)
    assert plain.cache == 8 * 256 * 1.25 * 2 * 3 * 512 * 4  # 8 rows of 256 tokens


@pytest.mark.parametrize(
    ("width", "values"),
    [
        (4, 3 * (2 * 1024 * 1024 + 2 * 1024 * 512 + 3 * 1024 * 2816)),  # all linear layers
        (2, 3 * (1024 * 1024 + 2 * 1024 * 512 + 2 * 1024 * 2816)),  # queries, keys and values; gate and up
    ],
)
def test_the_weights_that_decoding_keeps_again_are_counted(width, values):
    assert count(shape_of(settings_of("wide")), config_of("wide"), width=width).joined == values * width


def test_an_adapted_model_keeps_no_weights_again():
    assert count(shape_of(settings_of("tall")), config_of("tall"), width=4).joined == 0


def test_a_model_with_too_many_weights_to_join_keeps_none_again():
    large = settings_of("wide", num_hidden_layers=12)  # 566 MB
    assert count(shape_of(large), config_of("wide"), width=4).joined == 0


def test_an_architecture_that_transformers_decodes_keeps_no_weights_again():
    other = GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=100)
    assert count(shape_of(other), config_of("wide"), width=4).joined == 0
