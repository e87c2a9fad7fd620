"""Tiny models with random weights, as Hugging Face folders, for tests of whatever needs a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from azr.models.load import quiet

Architecture = Literal["qwen2", "llama", "gpt2"]

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
EOS, PAD = "<|end|>", "<|pad|>"


def tiny_model(
    folder: Path,
    *,
    architecture: Architecture = "qwen2",
    hidden: int = 32,
    layers: int = 2,
    context: int = 2048,
    seed: int = 0,
) -> Path:
    """Write a model with random weights and a tokenizer of single characters; the folder is returned."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(architecture, len(tokenizer), hidden, layers, context))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a printable ASCII character or newline, and an end, a padding and an unknown token."""
    vocabulary = {token: index for index, token in enumerate((PAD, EOS, "<|unk|>", *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, unk_token="<|unk|>", model_max_length=10**6
    )


def _config(architecture: Architecture, vocabulary: int, hidden: int, layers: int, context: int) -> PreTrainedConfig:
    tokens = {"vocab_size": vocabulary, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    if architecture == "gpt2":
        return GPT2Config(n_embd=hidden, n_layer=layers, n_head=4, n_positions=context, **tokens)
    kind = LlamaConfig if architecture == "llama" else Qwen2Config
    return kind(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.1,
        **tokens,
    )
