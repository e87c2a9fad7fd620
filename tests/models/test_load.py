"""Loading: errors in one line, tokens both ways, no dropout."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoModelForCausalLM

from azr.config import ModelConfig
from azr.errors import UserError
from azr.models.load import load_model, without_dropout, wrap
from tests.tiny import EOS, tiny_model, tiny_tokenizer


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_model(ModelConfig(name=str(tmp_path / "none")))
    assert "\n" not in str(caught.value)


def test_a_broken_weights_file_is_one_line(tmp_path, folders):
    folder = shutil.copytree(folders["llama"], tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_model(ModelConfig(name=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_model_without_an_end_token_is_refused(policy):
    policy.model.generation_config.eos_token_id = None
    policy.tokenizer.eos_token = None
    with pytest.raises(UserError, match="end-of-sequence"):
        wrap(policy.model, policy.tokenizer)


def test_a_tokenizer_larger_than_the_model_is_refused(policy):
    policy.tokenizer.add_tokens(["<|one|>", "<|more|>"])
    with pytest.raises(UserError, match="embedding"):
        wrap(policy.model, policy.tokenizer)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2"])
def test_text_survives_encoding_and_decoding(load, architecture):
    text = "def f(x):\n    return  x\n"
    policy = load(architecture)
    assert policy.decode(policy.encode(text)) == text


def test_decoding_removes_the_end_token_and_nothing_else(policy):
    ids = (*policy.encode("ab"), policy.eos_ids[0])
    assert policy.decode(ids) == "ab"
    assert policy.decode((*ids, *policy.encode("c"))) == f"ab{EOS}c"


def test_end_tokens_come_from_tokenizer_and_generation_config(policy):
    policy.model.generation_config.eos_token_id = [2, 7]
    assert wrap(policy.model, policy.tokenizer).eos_ids == (1, 2, 7)


def test_a_missing_padding_token_is_no_obstacle(policy):
    policy.tokenizer.pad_token = None
    assert wrap(policy.model, policy.tokenizer).encode("a") == (policy.encode("a"))


def test_the_begin_token_stands_in_front_exactly_once_and_no_end_token_behind(policy):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<|unk|> $A {EOS}", special_tokens=[("<|unk|>", 2), (EOS, 1)]
    )
    wrapped = wrap(policy.model, tokenizer)
    bare = policy.encode("hi")
    assert wrapped.encode("hi") == (2, *bare)
    assert wrapped.encode("<|unk|>hi") == (2, *bare)


def test_chat_renders_one_user_message(policy):
    policy.tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}>"
    assert policy.chat("hi") == "[user] hi>"


def test_chat_without_a_template_is_refused(policy):
    with pytest.raises(UserError, match="chat template"):
        policy.chat("hi")


def deterministic(model):
    ids = torch.arange(10)[None]
    model.train()
    return torch.equal(model(ids).logits, model(ids).logits)


def test_a_model_that_is_loaded_has_no_dropout(tmp_path):
    folder = tiny_model(tmp_path / "qwen2")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"attention_dropout": 0.5}))
    assert not deterministic(AutoModelForCausalLM.from_pretrained(folder))  # what we start from
    assert deterministic(load_model(ModelConfig(name=str(folder))).model)


def test_a_model_that_is_wrapped_has_no_dropout(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "gpt2", architecture="gpt2"))
    assert not deterministic(model)  # what we start from
    assert deterministic(wrap(model, tiny_tokenizer()).model)


def test_without_dropout_touches_only_dropout(policy):
    before = policy.model.config.to_dict()
    assert without_dropout(policy.model.config).to_dict() == before | {"attention_dropout": 0.0}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_disk_that_is_full_at_the_tokenizer_is_told_as_the_systems_error(policy, tmp_path):
    (tmp_path / "tokenizer.json").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        policy.export(tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_an_export_is_a_plain_folder(policy, tmp_path):
    policy.export(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), policy.model.parameters(), strict=True))


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_weights_of_a_model_with_code_of_its_own_are_taken_back(tmp_path, folders):
    folder = shutil.copytree(folders["llama"], tmp_path / "own")
    (folder / "own.py").write_text(CODE)
    settings = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "own", "auto_map": classes}))
    policy = load_model(ModelConfig(name=str(folder), device="cpu", trust_remote_code=True))
    policy.save(tmp_path / "saved")
    before = policy.model.lm_head.weight.clone()
    policy.model.lm_head.weight.data.zero_()
    policy.restore(tmp_path / "saved")
    assert type(policy.model).__name__ == "OwnForCausalLM"
    assert torch.equal(policy.model.lm_head.weight, before)


def test_weights_that_lack_one_are_not_made_up(tmp_path, policy):
    policy.save(tmp_path)
    kept = load_file(tmp_path / "model.safetensors")
    del kept["model.norm.weight"]
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 of its weights are missing"):
        policy.restore(tmp_path)
