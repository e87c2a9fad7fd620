"""The training loop of the base model: next-token loss on documents, from random weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from nursery.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Shape:
    """The architecture: Llama with tied embeddings.

    Attributes:
        hidden: width of the residual stream.
        layers: transformer blocks.
        heads: attention heads; `hidden` divides by it.
        feed_forward: inner width of the gated feed-forward layers.
        positions: longest sequence, prompt and answer together.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    positions: int = 1024


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the model is trained, until the first of its budgets is spent.

    Attributes:
        tokens: tokens to train on, without padding; None for no limit.
        seconds: wall time; None for no limit.
        lr: peak learning rate of Muon on the blocks' matrices and of AdamW on all else.
        warmup: share of the budget over which the rate rises; then it falls along a cosine.
        last: final rate as a share of the peak.
        weight_decay: of the matrices that Muon trains.
        batch: tokens per micro-batch, padding included; its documents are of similar length.
        micro_batches: micro-batches per step, so that a step sees documents of several lengths.
    """

    tokens: int | None = None
    seconds: float | None = None
    lr: float = 8e-3
    warmup: float = 0.03
    last: float = 0.05
    weight_decay: float = 0.1
    batch: int = 2048
    micro_batches: int = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the loss curve: mean loss per weighted token since the last point, in nats."""

    step: int
    tokens: int
    seconds: float
    loss: float
    lr: float


def new_model(shape: Shape, *, vocabulary: int, eos: int, pad: int, seed: int) -> Any:
    """A Llama model with random weights.

    Not Qwen2: for that type `AutoTokenizer` of transformers 5 may overrule the tokenizer's own files, and spaces are
    lost.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        eos_token_id=eos,
        pad_token_id=pad,
        bos_token_id=None,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


def train(
    model: Any,
    corpus: Corpus,
    schedule: Schedule,
    *,
    pad: int,
    seed: int,
    report: Callable[[Point], None],
    every: int = 50,
) -> None:
    """Train in place.

    Args:
        model: from `new_model`.
        corpus: read in random order, for as many epochs as the budget allows.
        schedule: budget and optimizer.
        pad: id that pads short documents on the right, where causal attention makes it harmless.
        seed: of the order.
        report: called with the loss every `every` steps.
        every: steps between reports.
    """
    optimizers = _optimizers(model, schedule)
    batches = _batches(corpus, schedule, pad, np.random.default_rng(seed))
    began, step, tokens = time.monotonic(), 0, 0
    losses: list[float] = []
    model.train()
    while (done := _progress(schedule, tokens, time.monotonic() - began)) < 1:
        lr = schedule.lr * _rate(done, schedule)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        micro = [next(batches) for _ in range(schedule.micro_batches)]
        total = float(sum(weights[:, 1:].sum() for _, weights in micro))
        losses.append(sum(_backward(model, ids, weights, total) for ids, weights in micro))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens += sum(int((ids != pad).sum()) for ids, _ in micro)
        if step % every == 0:
            report(Point(step, tokens, round(time.monotonic() - began, 1), round(float(np.mean(losses)), 4), lr))
            losses = []
    model.eval()


def _backward(model: Any, ids: torch.Tensor, weights: torch.Tensor, total: float) -> float:
    logits_BTV = model(input_ids=ids[:, :-1], use_cache=False).logits
    nll_BT = functional.cross_entropy(logits_BTV.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    loss = (nll_BT * weights[:, 1:].flatten()).sum() / total
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def _optimizers(model: Any, schedule: Schedule) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the blocks' matrices: it reaches in one million tokens the loss that AdamW alone reaches in two."""
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or "embed" in name]
    muon = torch.optim.Muon(
        matrices, lr=schedule.lr, weight_decay=schedule.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return muon, torch.optim.AdamW(others, lr=schedule.lr, betas=(0.9, 0.98), weight_decay=0.0)


def _progress(schedule: Schedule, tokens: int, seconds: float) -> float:
    by_tokens = tokens / schedule.tokens if schedule.tokens else 0.0
    return max(by_tokens, seconds / schedule.seconds if schedule.seconds else 0.0)


def _rate(done: float, schedule: Schedule) -> float:
    if done < schedule.warmup:
        return max(done / schedule.warmup, 1e-3)
    falling = (done - schedule.warmup) / (1 - schedule.warmup)
    return schedule.last + (1 - schedule.last) * 0.5 * (1 + math.cos(math.pi * falling))


def _batches(
    corpus: Corpus, schedule: Schedule, pad: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """ids_BT and weights_BT of documents of similar length, padded on the right; every epoch has its own order."""
    lengths = corpus.lengths
    while True:
        order = np.lexsort((rng.random(len(lengths)), lengths))
        groups = list(_groups(order, lengths, schedule.batch))
        for number in rng.permutation(len(groups)):
            yield _padded(corpus, groups[number], pad)


def _groups(order: NDArray[np.int64], lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= budget:
            stop += 1
        yield order[start:stop]
        start = stop


def _padded(corpus: Corpus, group: NDArray[np.int64], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = int(corpus.lengths[group].max())
    ids = np.full((len(group), width), pad, np.int64)
    weights = np.zeros((len(group), width), np.float32)
    for row, document in enumerate(group):
        start, stop = corpus.starts[document], corpus.starts[document + 1]
        ids[row, : stop - start] = corpus.tokens[start:stop]
        weights[row, : stop - start] = corpus.weights[start:stop] / 100
    return torch.from_numpy(ids), torch.from_numpy(weights)
