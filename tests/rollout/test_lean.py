"""The lean forward pass computes what transformers' own forward does."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.cache_utils import DynamicCache

from azr.models import products
from azr.models.plain import is_plain
from azr.rollout.local.cache import RowCache
from azr.rollout.local.lean import LeanModel
from azr.rollout.local.paged import PagedCache

SHAPE = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=16)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "llama, tied, llama3 positions": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3, heads wider than the model": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=32)),
}


def made(build: Any) -> Any:
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for weight in model.parameters():  # biases and norms start as zeros and ones
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def wrapped(model: Any) -> Any:
    return SimpleNamespace(model=model, device=torch.device("cpu"))


def decoded(
    model: Any, lean: LeanModel | None, lengths: list[int], copies: list[int], *, shared: bool = False
) -> list[torch.Tensor]:
    """Logits after prompts and in four decoding steps, in `copies` rows for each prompt; by transformers if not lean.

    If the prompts are to be shared, the lean model reads them, too.
    """
    random = np.random.default_rng(0)
    prompts = [random.integers(99, size=length) for length in lengths]
    cached = np.repeat(lengths, copies)
    cache: RowCache | PagedCache = PagedCache() if shared else RowCache()
    with torch.inference_mode():
        if isinstance(cache, PagedCache):
            assert lean is not None
            after_P, seen = lean.read(padded(prompts, left=False)[0], np.array(lengths))
            cache.append(seen, copies, np.array(lengths))
        else:
            after_P, prefilled = read(model, *padded(prompts, left=True))
            cache.append(prefilled, copies, np.array(lengths))
        logits = [after_P]
        for _ in range(4):
            newest = random.integers(99, size=len(cached))
            if lean is not None:
                logits.append(lean.step(newest, cached, cache))
            else:
                assert isinstance(cache, RowCache)
                columns = cache.width + 1
                output = model(
                    input_ids=torch.from_numpy(newest)[:, None],
                    attention_mask=torch.from_numpy(np.arange(columns) >= columns - 1 - cached[:, None]),
                    position_ids=torch.from_numpy(cached)[:, None],
                    past_key_values=cache,
                    use_cache=True,
                )
                logits.append(output.logits[:, -1])
            cache.advance()
            cached = cached + 1
    return logits


def padded(prompts: list[np.ndarray], *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Prompts as rows of an array that begins or ends with other tokens, and where it holds them."""
    lengths = np.array([len(prompt) for prompt in prompts])[:, None]
    columns = np.arange(lengths.max())
    mask = columns >= len(columns) - lengths if left else columns < lengths
    ids = np.full(mask.shape, 7)
    ids[mask] = np.concatenate(prompts)
    return ids, mask


def read(model: Any, ids: np.ndarray, seen: np.ndarray) -> tuple[torch.Tensor, DynamicCache]:
    """Logits after prompts that are padded on the left, and their keys and values, by transformers."""
    prefilled = DynamicCache()
    output = model(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(seen),
        position_ids=torch.from_numpy(np.maximum(seen.cumsum(axis=1) - 1, 0)),
        past_key_values=prefilled,
        use_cache=True,
    )
    return output.logits[:, -1], prefilled


def difference(
    model: Any, lean: LeanModel, lengths: list[int], copies: list[int] | None = None, *, shared: bool = False
) -> float:
    copies = copies or [1] * len(lengths)
    ours, theirs = decoded(model, lean, lengths, copies, shared=shared), decoded(model, None, lengths, copies)
    return max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True))


def refreshed(model: Any) -> LeanModel:
    lean = LeanModel(wrapped(model))
    lean.refresh()
    return lean


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [[5, 9, 2], [7, 7], [1]], ids=["ragged", "equal", "one"])
def test_logits_equal_those_of_transformers(family: str, lengths: list[int]) -> None:
    model = made(FAMILIES[family])
    assert is_plain(model)
    assert difference(model, refreshed(model), lengths) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("lengths", "copies"),
    [([5, 9, 2], [2, 1, 3]), ([5, 7, 9, 4], [2, 1, 3, 1]), ([7, 7], [4, 4]), ([30], [1]), ([5, 9], [7, 4])],
    ids=["very different", "similar", "equal", "one", "many"],
)
def test_logits_of_rows_that_share_their_prompts_equal_those_of_transformers(
    family: str, lengths: list[int], copies: list[int]
) -> None:
    model = made(FAMILIES[family])
    assert difference(model, refreshed(model), lengths, copies, shared=True) < 1e-5


def test_logits_in_bfloat16_are_as_close_as_rounding_allows() -> None:
    model = made(FAMILIES["qwen3, heads wider than the model"]).to(torch.bfloat16)
    assert difference(model, refreshed(model), [5, 9, 2]) < 0.1


@pytest.mark.parametrize("shared", [False, True])
def test_positions_beyond_the_table_extend_it(shared: bool) -> None:
    model = made(FAMILIES["qwen2"])
    assert difference(model, refreshed(model), [1030, 3], shared=shared) < 1e-5


def test_weights_too_large_to_join_are_used_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azr.rollout.local.lean.JOINED_BYTES", 0)
    model = made(FAMILIES["qwen2"])
    lean = refreshed(model)
    assert len(lean._layers[0].qkv._weights) == 3
    assert lean._layers[0].qkv.dense is None
    assert difference(model, lean, [5, 9, 2], shared=True) < 1e-5


@pytest.mark.skipif(not products.AVAILABLE, reason="decoding in blocks needs 512-bit vectors")
def test_weights_are_kept_again_once() -> None:
    model = made(FAMILIES["qwen2"])
    layer = refreshed(model)._layers[0]
    joined = [layer.qkv, layer.gate_up]
    assert all(product.dense is not None for product in joined)
    kept = {weight.data_ptr() for product in joined for weight in product._weights}
    assert kept <= {weight.data_ptr() for weight in model.model.parameters()}


def test_where_vectors_are_short_pytorch_computes_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azr.rollout.local.lean.AVAILABLE", False)
    monkeypatch.setattr("azr.rollout.local.lean.WHOLE_BYTES", 0)
    model = made(FAMILIES["qwen2"])
    lean = refreshed(model)
    assert lean._layers[0].down.dense is None
    assert difference(model, lean, [5, 9], [7, 4], shared=True) < 1e-5


def test_an_update_of_the_weights_reaches_the_joined_ones() -> None:
    model = made(FAMILIES["llama"])
    lean = refreshed(model)
    with torch.no_grad():
        model.model.layers[1].self_attn.k_proj.weight.mul_(2.0)
    assert difference(model, lean, [5, 9], [7, 4], shared=True) > 1e-3
    lean.refresh()
    assert difference(model, lean, [5, 9], [7, 4], shared=True) < 1e-5


def test_a_refresh_without_an_update_keeps_the_joined_weights() -> None:
    model = made(FAMILIES["llama"])
    lean = refreshed(model)
    layers = lean._layers
    lean.refresh()
    assert lean._layers is layers


@pytest.mark.parametrize(
    "build",
    [
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2)),
        lambda: MistralForCausalLM(MistralConfig(**SHAPE)),
        lambda: get_peft_model(LlamaForCausalLM(LlamaConfig(**SHAPE)), LoraConfig(target_modules=["q_proj"])),
        lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_sliding_window=True, max_window_layers=1)),
        lambda: LlamaForCausalLM(
            LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
        ),
    ],
    ids=["gpt2", "mistral", "adapter", "sliding window", "positions that depend on the length"],
)
def test_other_models_are_left_to_transformers(build: Any) -> None:
    assert not is_plain(build())
