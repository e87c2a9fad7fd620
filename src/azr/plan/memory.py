"""Estimate a run's peak memory from the model's shape and the configuration.

Weights and optimizer state stay in memory. Sampling and learning alternate, so only the larger of the two counts.
Workspaces of kernels and overhead of the allocator are not included. A test checks that the estimate is within 20 % of
what three small runs on a CPU take (measured: 6, 8 and 10 % off). It has not been measured on a GPU.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from azr.config import Config
from azr.learn.logprobs import MOST_LOGITS
from azr.models.plain import is_plain
from azr.rollout.local.lean import JOINED_BYTES, WHOLE_BYTES


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model that decide its memory."""

    parameters: int  # number of parameters, tied ones counted once
    linear: int  # parameters in the linear layers of the blocks, which LoRA adapts and quantisation applies to
    adapter: int  # parameters of a rank-1 LoRA on all of these layers
    layers: int
    hidden: int  # width of the residual stream
    intermediate: int  # width of the MLP
    heads: int  # query heads
    kv_heads: int  # key heads
    attention: int  # total width of the query heads
    kv: int  # total width of the key heads, which is also that of the value heads
    vocabulary: int  # rows of the output layer
    plain: bool = False  # whether azr's own forward pass decodes it


def shape_of(settings: Any) -> Shape:
    """The shape of a transformers configuration, read off a model on the meta device."""
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
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear=sum(rows * columns for rows, columns in sizes),
        adapter=sum(rows + columns for rows, columns in sizes),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=heads,
        kv_heads=kv_heads,
        attention=heads * width,
        kv=kv_heads * width,
        vocabulary=text.vocab_size,
        plain=is_plain(model),
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device by purpose.

    Attributes:
        reference: a frozen copy of the weights, for the KL divergence from the untrained model.
        joined: the layers' weights once more, as decoding reads them.
        host: the CPU memory that `learner.offload` uses.
        whole: the whole model beside the part that this rank trains (`azr.plan.machine`).
        gathered: other ranks' weights, and gradients, while a layer needs them.
        start: what is there before the model is divided among the ranks.
    """

    weights: int
    gradients: int
    optimizer: int
    cache: int
    sampling: int
    activations: int
    logits: int
    runtime: int
    reference: int = 0
    joined: int = 0
    host: int = 0
    whole: int = 0
    gathered: int = 0
    start: int = 0

    @property
    def peak(self) -> int:
        """Resident memory plus the larger of what sampling and learning need, in bytes."""
        learning = self.gathered + self.gradients + self.activations + self.logits
        resident = self.whole + self.weights + self.reference + self.joined + self.optimizer
        return self.runtime + max(self.start, resident + max(self.cache + self.sampling, learning))


_RUNTIME = 100 * 2**20
"""What the libraries allocate on first use, beyond what importing them takes: 95 to 134 MiB in the test's three runs on
a CPU. A CUDA context takes more, and is not included."""

_QUANTIZED = {"8bit": 1.02, "4bit": 0.52}
"""Bytes per weight with scales: one float per row (int8); 8 bits per 64 weights plus second-level scales (NF4)."""


def half_precision(config: Config, device: str) -> bool:
    """Whether the model computes in 16 bits on a device of this type ("cuda", "cpu", ...)."""
    return config.model.dtype in ("bfloat16", "float16") or (config.model.dtype == "auto" and device == "cuda")


def count(shape: Shape, config: Config, *, width: int) -> Memory:
    """Estimate a run's memory; `width` is bytes per number that the model computes with: 2 or, in full precision, 4."""
    model, learner = config.model, config.learner
    weights = shape.parameters * width
    if model.quantization != "none":
        weights += int(shape.linear * (_QUANTIZED[model.quantization] - width))
    learnt = shape.adapter * model.lora.rank or shape.parameters
    if model.lora.rank:
        weights += learnt * 4
    own = 4 if model.lora.rank else width  # bytes per trainable weight
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
        reference=weights if config.algorithm.kl_coefficient and not model.lora.rank else 0,
        joined=_joined(shape, config, width),
        host=state + learnt * 4 if learner.offload else 0,
    )


def _joined(shape: Shape, config: Config, width: int) -> int:
    """Bytes of the second copy of the layers' weights that decoding in one process keeps from its first step on.

    In float32 on a CPU it holds all linear layers, of a small model the output layer too; else the two products that
    join several.
    """
    model = config.model
    if not shape.plain or model.lora.rank or model.quantization != "none" or shape.linear * width > JOINED_BYTES:
        return 0
    single = shape.layers * shape.hidden * (shape.attention + shape.intermediate)
    if width < 4:
        return (shape.linear - single) * width
    head = shape.vocabulary * shape.hidden
    return (shape.linear + (head if (shape.linear + head) * width <= WHOLE_BYTES else 0)) * width


def longest(config: Config) -> int:
    """The most tokens that a prompt and its completion can have together."""
    generation = config.generation
    return generation.max_prompt_tokens + max(generation.max_propose_tokens, generation.max_solve_tokens)


def _sampling(shape: Shape, config: Config, width: int) -> dict[str, int]:
    """The KV cache of all rows at full length, with the slack of `rollout.local.cache`; a step's probabilities."""
    rows = config.generation.max_rows
    token = 2 * shape.layers * shape.kv * width
    cells = rows * longest(config) * 1.25
    # Logits, log-probabilities and probabilities in float32; probabilities, their sum and a temporary in float64.
    return {"cache": int(cells * token), "sampling": rows * shape.vocabulary * 28}


def _learning(shape: Shape, config: Config, width: int) -> dict[str, int]:
    """What autograd saves for the backward pass of a micro-batch.

    Per layer and token: the inputs of both norms, in float32 and normalised (8 hidden widths with the residuals),
    queries, keys and values before and after the rotary embedding, the attention output, and four intermediate widths
    of the gated MLP. Per completion token: logits, log-probabilities and what the entropy needs.
    """
    tokens = max(config.learner.token_budget, longest(config))
    layer = (8 * shape.hidden + 4 * shape.attention + 4 * shape.kv + 4 * shape.intermediate) * width
    checkpointing = config.model.gradient_checkpointing
    kept = shape.layers * shape.hidden * width + layer if checkpointing else shape.layers * layer
    generation = config.generation
    answers = tokens * max(generation.max_propose_tokens, generation.max_solve_tokens) // longest(config)
    logits = min(answers * shape.vocabulary, MOST_LOGITS) * 4
    return {"activations": tokens * kept, "logits": 4 * logits}
