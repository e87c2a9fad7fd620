"""Memory that a run needs at its peak, counted from the model's shape and the configuration.

The weights and the optimizer's state stay; sampling and learning take turns, so that the larger of the two counts.
What a kernel or the allocator takes for itself is not counted: a test holds the sum to within a fifth of what three
small runs on a CPU take (measured: 1, 6 and 7 % off). On a GPU it was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from azr.config import Config
from azr.learn.logprobs import MOST_LOGITS


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model decides its memory.

    Attributes:
        parameters: all of them, tied ones once.
        linear: of those, the ones in linear layers inside the blocks, which LoRA goes beside and which are quantised.
        adapter: parameters of a LoRA of rank 1 on all of these layers.
        layers, hidden, intermediate: depth and widths.
        attention: width of all query heads together. kv: of all key heads, and of all value heads.
        vocabulary: rows of the output layer.
    """

    parameters: int
    linear: int
    adapter: int
    layers: int
    hidden: int
    intermediate: int
    attention: int
    kv: int
    vocabulary: int


def shape_of(settings: Any) -> Shape:
    """The shape of a transformers configuration, from a model without memory of its own."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings)
    text, head = settings.get_text_config(), model.get_output_embeddings()
    sizes = [
        (weight.shape[0], weight.shape[1])
        for module in model.modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not head
        for weight in [module.weight]
    ]
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear=sum(rows * columns for rows, columns in sizes),
        adapter=sum(rows + columns for rows, columns in sizes),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        attention=heads * width,
        kv=(getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=text.vocab_size,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by what they are for; `host` are those that `learner.offload` puts into the CPU's memory."""

    weights: int
    gradients: int
    optimizer: int
    cache: int
    sampling: int
    activations: int
    logits: int
    runtime: int
    host: int

    @property
    def peak(self) -> int:
        """What stays, and the larger of what sampling and learning need."""
        learning = self.gradients + self.activations + self.logits
        return self.runtime + self.weights + self.optimizer + max(self.cache + self.sampling, learning)


_RUNTIME = 100 * 2**20
"""What the libraries take once they compute, over what they took when they were imported: 95 to 134 MiB in the three
runs of the test on a CPU. A CUDA context takes more, and comes on top."""

_QUANTIZED = {"8bit": 1.02, "4bit": 0.52}
"""Bytes a weight, scales included: one float a row; 8 bits and a share of a second scale for every 64 (NF4)."""


def count(shape: Shape, config: Config, *, width: int) -> Memory:
    """Count a run's memory.

    Args:
        shape: the model's.
        config: the run's.
        width: bytes of a number that the model computes with: 2 for bfloat16, else 4.
    """
    model, learner = config.model, config.learner
    weights = shape.parameters * width
    if model.quantization != "none":
        weights += int(shape.linear * (_QUANTIZED[model.quantization] - width))
    learnt = shape.adapter * model.lora.rank or shape.parameters
    if model.lora.rank:
        weights += learnt * 4
    own = 4 if model.lora.rank else width  # bytes of a weight that learns
    master = 4 if learner.offload or own < 4 else 0
    moments = 2 if learner.optimizer == "adamw-8bit" else 8
    state = learnt * (master + moments)
    gradients = learnt * (own if learner.offload or own == 4 else 4)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=0 if learner.offload else state,
        **_sampling(shape, config, width),
        **_learning(shape, config, width),
        runtime=_RUNTIME,
        host=state + learnt * 4 if learner.offload else 0,
    )


def longest(config: Config) -> int:
    """Most tokens of a prompt and its answer."""
    generation = config.generation
    return generation.max_prompt_tokens + max(generation.max_propose_tokens, generation.max_solve_tokens)


def _sampling(shape: Shape, config: Config, width: int) -> dict[str, int]:
    """Keys and values of all rows at full length, with the slack of `rollout.local.cache`; a step's probabilities."""
    rows = config.generation.max_rows
    token = 2 * shape.layers * shape.kv * width
    cells = rows * longest(config) * 1.25
    # Logits, log-probabilities and mass in float32; mass, its sum and a temporary of it in float64.
    return {"cache": int(cells * token), "sampling": rows * shape.vocabulary * 28}


def _learning(shape: Shape, config: Config, width: int) -> dict[str, int]:
    """What the backward pass keeps of a micro-batch.

    Of a layer it keeps, for each token: two norms' inputs, in float32 and normalised (8 widths of the hidden state with
    the residuals), queries, keys and values before and after their rotation, attention's output, and four
    intermediate widths of the gated MLP. Of the answers, it keeps logits, log-probabilities and what entropy needs.
    """
    tokens = max(config.learner.token_budget, longest(config))
    layer = (8 * shape.hidden + 4 * shape.attention + 4 * shape.kv + 4 * shape.intermediate) * width
    kept = shape.layers * layer
    if config.model.gradient_checkpointing:
        kept = shape.layers * shape.hidden * width + layer
    generation = config.generation
    answers = tokens * max(generation.max_propose_tokens, generation.max_solve_tokens) // longest(config)
    logits = min(answers * shape.vocabulary, MOST_LOGITS) * 4
    return {"activations": tokens * kept, "logits": 4 * logits}
