"""Configurations of the models that the presets name, as published with them, so that a plan needs no network."""

from typing import Any

from transformers import GPT2Config, Qwen2Config

_SIZES = {  # hidden, intermediate, layers, heads, key-value heads, vocabulary; whether embeddings are tied
    "0.5B": (896, 4864, 24, 14, 2, 151936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151936, True),
    "3B": (2048, 11008, 36, 16, 2, 151936, True),
    "7B": (3584, 18944, 28, 28, 4, 152064, False),
    "14B": (5120, 13824, 48, 40, 8, 152064, False),
}
_QWEN = {
    "Qwen/Qwen2.5-3B-Instruct": "3B",
    "Qwen/Qwen2.5-7B": "7B",
    **{f"Qwen/Qwen2.5-Coder-{size}": size for size in ("0.5B", "3B", "7B", "14B")},
}


def published(name: str) -> Any | None:
    """The transformers configuration of a model that a preset names; None for any other."""
    if name == "distilbert/distilgpt2":
        return GPT2Config(n_layer=6)
    if name not in _QWEN:
        return None
    return qwen2(_QWEN[name])


def qwen2(size: str, **others: Any) -> Qwen2Config:
    """The configuration of Qwen2.5 in one of its sizes, such as "0.5B".

    Args:
        size: as it stands in the models' names.
        others: values that replace or add to the published ones.
    """
    hidden, intermediate, layers, heads, kv, vocabulary, tied = _SIZES[size]
    shape = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 32768,
    }
    return Qwen2Config(**(shape | others))
