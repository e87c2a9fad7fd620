"""The training loop of `nursery-steps`: documents drawn as they are needed, and a checkpoint from which it goes on."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, SmolLM3Config, SmolLM3ForCausalLM

from nursery.documents import Piece
from nursery.steps.positions import Positions, training_positions
from nursery.steps.prime import prime
from nursery.steps.tokenizer import POSITIONS
from nursery.train import Shape

Source = Callable[[random.Random], Iterator[Sequence[Piece]]]
"""Makes an endless stream of documents."""


ROPE_THETA = 2e6
"""So slow that most pairs of a head's dimensions hardly turn over a whole sequence, and can compare tokens."""
_MICRO_BATCH = 4096
"""Tokens of a micro-batch, padding included, at most; but at least one document."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is trained.

    Attributes:
        steps: updates.
        batch: documents per update.
        lr: peak learning rate.
        optimizer: `muon` on the blocks' matrices and AdamW on all else, or `adamw` alone.
        warmup: updates over which the rate rises; then it falls along a cosine.
        last: final rate as a share of the peak.
        positions: see `training_positions`.
        gapped: see `training_positions`.
        longest: no position reaches this.
        seed: of documents and positions.
    """

    steps: int
    batch: int = 48
    lr: float = 6e-3
    optimizer: Literal["muon", "adamw"] = "muon"
    warmup: int = 30
    last: float = 0.05
    positions: Positions = "plain"
    gapped: float = 1.0
    longest: int = 256
    seed: int = 0


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, *, partly_nope: bool = False, seed: int = 0) -> Any:
    """A Llama model with random weights, or with `partly_nope` a SmolLM3 whose odd layers have no positions."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": POSITIONS,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
    }
    if partly_nope:
        rotary = [(layer + 1) % 2 for layer in range(shape.layers)]
        model = SmolLM3ForCausalLM(SmolLM3Config(**common, no_rope_layers=rotary))
    else:
        model = LlamaForCausalLM(LlamaConfig(**common))
    prime(model, torch.Generator().manual_seed(seed))
    return model


def encode(made: Sequence[Sequence[Piece]], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    """ids_BT and weights_BT of documents, each with the end token, padded on the right."""
    rows = [[*document, (str(tokenizer.eos_token), document[-1][1])] for document in made]
    parts = iter(tokenizer([text for row in rows for text, _ in row], add_special_tokens=False)["input_ids"])
    ids, weights = [], []
    for row in rows:
        pairs = [(token, weight) for _, weight in row for token in next(parts)]
        ids.append(torch.tensor([token for token, _ in pairs]))
        weights.append(torch.tensor([weight for _, weight in pairs]))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, True, float(tokenizer.pad_token_id)), pad(weights, True, 0.0)


def train(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    source: Source,
    plan: Plan,
    *,
    checkpoint: Path | None = None,
    every: int = 50,
    report: Callable[[str], None] = print,
) -> int:
    """Train in place, from the checkpoint if there is one.

    Args:
        model: from `new_model`, or a base to train further.
        tokenizer: its tokenizer.
        source: of documents. Step n draws from a stream of its own, so a resumed run reads what it would have read.
        plan: how.
        checkpoint: file to go on from and to write to; None for neither.
        every: steps between reports and checkpoints.
        report: called with each line of progress.

    Returns:
        number of tokens that were trained on, without padding.
    """
    optimizers = _optimizers(model, plan)
    line_ends = torch.tensor([n for token, n in tokenizer.get_vocab().items() if token.endswith("\n")])
    step, tokens = 0, 0
    if checkpoint is not None and checkpoint.is_file():
        step, tokens = _restore(checkpoint, model, optimizers)
    began, losses = time.monotonic(), []
    model.train()
    while step < plan.steps:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.lr * _rate(step, plan)
        stream = source(random.Random(f"{plan.seed}/{step}"))
        ids, weights = encode([next(stream) for _ in range(plan.batch)], tokenizer)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        positions = training_positions(plan.positions, ids, line_ends, plan.longest, generator, gapped=plan.gapped)
        present = ids != tokenizer.pad_token_id
        parts = of_similar_length(present.sum(dim=1))
        total = float(weights.sum())
        losses.append(0.0)
        for rows, width in parts:
            losses[-1] += _backward(model, ids[rows, :width], weights[rows, :width], positions[rows, :width], total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + int(present.sum())
        if step % every == 0 or step == plan.steps:
            seconds = time.monotonic() - began
            report(f"step {step}: {tokens} tokens, {seconds:.0f} s, loss {sum(losses) / len(losses):.4f}")
            losses = []
            if checkpoint is not None:
                _keep(checkpoint, model, optimizers, step, tokens)
    model.eval()
    return tokens


def of_similar_length(lengths_B: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
    """Rows of each micro-batch, and its length: short documents are not padded to the length of long ones."""
    order_B = lengths_B.argsort(stable=True)
    sorted_B = lengths_B[order_B].tolist()
    first = 0
    for last, length in enumerate(sorted_B):
        following = sorted_B[last + 1] if last + 1 < len(sorted_B) else None
        if following is None or following > 1.5 * sorted_B[first] or (last + 2 - first) * following > _MICRO_BATCH:
            yield order_B[first : last + 1], length
            first = last + 1


def _backward(model: Any, ids: torch.Tensor, weights: torch.Tensor, positions: torch.Tensor, total: float) -> float:
    """Add the gradient of a micro-batch, whose documents have a share of the whole batch's `total` weight."""
    hidden = model.model(input_ids=ids[:, :-1], position_ids=positions[:, :-1], use_cache=False).last_hidden_state
    weights = weights[:, 1:]
    read = weights > 0  # logits only where there is a loss
    nll = functional.cross_entropy(model.lm_head(hidden[read]), ids[:, 1:][read], reduction="none")
    loss = (nll * weights[read]).sum() / total
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def _optimizers(model: Any, plan: Plan) -> tuple[torch.optim.Optimizer, ...]:
    if plan.optimizer == "adamw":
        return (torch.optim.AdamW(model.parameters(), lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.0),)
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=plan.lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.0)


def _rate(step: int, plan: Plan) -> float:
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    falling = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.last + (1 - plan.last) * 0.5 * (1 + math.cos(math.pi * falling))


def _keep(path: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer], step: int, tokens: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    states = [optimizer.state_dict() for optimizer in optimizers]
    record = {"model": model.state_dict(), "optimizers": states, "step": step, "tokens": tokens}
    torch.save(record, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _restore(path: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer]) -> tuple[int, int]:
    record = torch.load(path, weights_only=True)
    model.load_state_dict(record["model"])
    for optimizer, state in zip(optimizers, record["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return record["step"], record["tokens"]
