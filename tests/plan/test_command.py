"""What `azr plan` says: counted by hand, and the settings that it proposes."""

import re

import pytest
import torch
from transformers import Qwen2Config

from azr.errors import UserError
from azr.plan.command import many, plan
from azr.plan.memory import count, shape_of
from azr.plan.shapes import published
from azr.settings import presets
from azr.train.start import resolve
from tests.runs import azr, tiny_config

QWEN_7B = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
    tie_word_embeddings=False,
)
PARAMETERS = 7_615_616_512  # as the model's card has it: 7.61 billion


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """A folder that has the 7B model's configuration, which is all that a plan reads."""
    folder = tmp_path_factory.mktemp("seven")
    QWEN_7B.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shape():
    return shape_of(QWEN_7B)


def said_of(source, words, gpu=None):
    """The plan's lines, with nothing timed here."""
    return list(plan(source, words, gpu, timed=False))


def counted(shape, *assignments):
    return count(shape, resolve("paper", assignments), width=2)


def test_the_shape_of_the_papers_model(shape):
    assert shape.parameters == PARAMETERS
    assert (shape.layers, shape.attention, shape.kv, shape.vocabulary) == (28, 3584, 512, 152064)


def test_learning_all_weights_takes_eighteen_bytes_each(shape):
    memory = counted(shape)
    assert memory.weights == 2 * PARAMETERS
    assert memory.optimizer == 12 * PARAMETERS  # a float32 copy and two moments
    assert memory.gradients == 4 * PARAMETERS


def test_keys_and_values_of_all_rows_at_full_length(shape):
    token = 2 * 28 * 512 * 2  # keys and values, layers, width, bytes
    assert counted(shape, "generation.max_rows=8").cache == 8 * (6144 + 8096) * token * 1.25


def test_moments_in_eight_bits_save_six_bytes_a_weight(shape):
    assert counted(shape, "learner.optimizer=adamw-8bit").optimizer == 6 * PARAMETERS


def test_offload_moves_the_state_and_keeps_gradients_as_the_model_has_them(shape):
    memory = counted(shape, "learner.offload=true")
    assert (memory.optimizer, memory.gradients) == (0, 2 * PARAMETERS)
    assert memory.host == 16 * PARAMETERS


def test_lora_counts_its_own_weights_only(shape):
    a_layer = (3584 + 3584) * 2 + (3584 + 512) * 2 + (3584 + 18944) * 3  # q and o, k and v, the MLP's three
    memory = counted(shape, "model.lora.rank=16")
    assert memory.optimizer == 8 * 16 * 28 * a_layer
    assert memory.weights == 2 * PARAMETERS + 4 * 16 * 28 * a_layer


def test_four_bits_leave_embeddings_as_they_are(shape):
    memory = counted(shape, "model.quantization=4bit", "model.lora.rank=1")
    linear = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert memory.weights == pytest.approx(2 * PARAMETERS - 1.48 * linear, rel=0.01)


@pytest.mark.parametrize(
    ("name", "parameters"),  # as on the models' cards
    [
        ("Qwen/Qwen2.5-Coder-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
        ("Qwen/Qwen2.5-7B", PARAMETERS),
        ("Qwen/Qwen2.5-Coder-14B", 14_770_033_664),
        ("distilbert/distilgpt2", 81_912_576),
    ],
)
def test_the_shapes_of_the_presets_models_are_the_published_ones(name, parameters):
    assert shape_of(published(name)).parameters == parameters


@pytest.mark.parametrize("preset", [preset for preset in presets() if preset != "tinker"])
def test_every_preset_is_planned_without_a_network_and_no_key_is_suggested_twice(preset):
    said = said_of(preset, [], "h200-141gb")
    keys = [word.partition("=")[0] for word in said[-1].split() if "=" in word]
    assert len(keys) == len(set(keys))


def test_a_model_on_a_tinker_service_is_not_planned():
    with pytest.raises(UserError, match="a Tinker service runs it, so there is nothing to plan for this machine"):
        said_of("tinker", [], "h200-141gb")


def test_the_paper_does_not_fit_one_card_and_the_plan_says_what_would(seven):
    said = said_of("paper", [f"model.name={seven}"], "a100-80gb")
    assert any(line.startswith("peak ") and line.endswith("does not fit") for line in said)
    (advice,) = [line for line in said if line.startswith("it would fit")]
    assignments = advice.partition("under: ")[2].split()
    again = said_of("paper", [f"model.name={seven}", *assignments], "a100-80gb")
    assert any(line.startswith("peak ") and line.endswith(": fits") for line in again)


def test_nothing_is_proposed_where_nothing_helps(seven):
    words = [f"model.name={seven}", "generation.max_prompt_tokens=10000000"]
    assert said_of("paper", words, "t4-16gb")[-1].startswith("no setting makes it fit")


def test_an_unknown_card_lists_those_that_are_known(seven):
    with pytest.raises(UserError, match=r"--gpu a1000: unknown card; known cards are .*a100-80gb"):
        said_of("paper", [f"model.name={seven}"], "a1000")


def test_a_card_is_planned_for_in_its_own_precision(seven):
    words = [f"model.name={seven}", "model.dtype=auto"]
    assert "2 bytes each on cuda" in said_of("paper", words, "h100-80gb")[0]
    if not torch.cuda.is_available():
        assert "4 bytes each on cpu" in said_of("paper", [*words, "model.device=cpu"])[0]


@pytest.mark.slow
def test_the_command_says_that_a_small_run_fits(apprentice, tmp_path):
    done = azr("plan", tiny_config(tmp_path, apprentice), "--no-time", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ": fits\n" in done.stdout
    assert "disk: " in done.stdout
    assert "time" not in done.stdout


@pytest.mark.slow
def test_the_command_tries_a_step_out_and_says_how_long_the_run_takes(apprentice, tmp_path):
    done = azr("plan", tiny_config(tmp_path, apprentice), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^time per step: [\d.]+ s(, the mean of \d+)?: play [\d.]+ s, learn [\d.]+ s$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^time of the run: .*, 3 steps, 0 evaluations", done.stdout, re.MULTILINE)
    assert re.search(r"^  valid proposals: deduction \d+%, ", done.stdout, re.MULTILINE)
    assert re.search(r"^  sandbox: \d+ jobs per second", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.toml"]  # nothing is written


def test_a_served_model_has_nothing_to_plan_for(tmp_path):
    with pytest.raises(UserError, match="it runs on a server, so there is nothing to plan"):
        said_of("demo", ["model.name=m@http://host/v1", "selfplay.learn=false"])


def test_time_on_a_card_is_labelled_as_assumed(seven):
    (line,) = [line for line in said_of("paper", [f"model.name={seven}"], "h100-80gb") if line.startswith("time")]
    assert "not measured: assumes 50% of 3350 GB/s and 35% of 989 TFLOP/s" in line
    assert "NVIDIA H100 data sheet" in line


@pytest.mark.parametrize(
    ("gpu", "word", "why"),
    [("t4-16gb", "steps=1", "no bfloat16 units"), ("h100-80gb", "learner.offload=true", "depends on the host")],
)
def test_where_no_estimate_is_honest_there_is_none(seven, gpu, word, why):
    lines = [line for line in said_of("paper", [f"model.name={seven}", word], gpu) if line.startswith("time")]
    assert [why in line for line in lines] == [True]


def test_a_model_that_is_not_here_is_timed_by_two_of_its_layers(tmp_path):
    Qwen2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=200,
    ).save_pretrained(tmp_path)
    words = [f"model.name={tmp_path}", "model.device=cpu", "threads=1"]
    (line,) = [line for line in plan("demo", words, None) if line.startswith("time")]
    assert "extrapolated from 1 and 2 of its 6 layers with random weights, timed here" in line


def test_a_model_of_which_not_even_two_layers_fit_is_not_timed(tmp_path):
    Qwen2Config(hidden_size=16384, num_attention_heads=128, vocab_size=4 * 10**6).save_pretrained(tmp_path)
    words = [f"model.name={tmp_path}", "model.device=cpu", "threads=1"]
    (line,) = [line for line in plan("demo", words, None) if line.startswith("time")]
    assert line.startswith("time: not measured; the model is not downloaded or does not fit")


@pytest.mark.parametrize(
    ("count", "words"), [(PARAMETERS, "7.62 billion"), (494_032_768, "0.49 billion"), (903_808, "0.90 million")]
)
def test_the_size_of_a_small_model_is_not_nothing(count, words):
    assert many(count) == words
