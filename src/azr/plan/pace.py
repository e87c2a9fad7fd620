"""How long a step takes at most, from the pace of sampling and learning: measured here, or by a card's peaks.

For models that cannot play a trial step (`azr.plan.trial`): too slow, too large, or not there. All prompts and answers
are taken at their limits, so that what comes out is a bound for that pace; shorter ones take less in proportion.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from azr.config import Config
from azr.learn.base import Learner, TrainSample
from azr.models import adapters
from azr.models.load import LanguageModel
from azr.plan.cards import Card
from azr.plan.memory import Memory, Shape, longest
from azr.rollout.base import Sampling
from azr.rollout.local.decode import Decoder, Ticket

BANDWIDTH_SHARE, FLOPS_SHARE = 0.5, 0.35
"""Of a card's peaks: what decoding and products are assumed to reach. Not measured; `bench/gpu.py` would."""

_PROMPT, _NEW, _CPU_ROWS = 128, 16, 8
"""Tokens of the prompts and answers that are timed, and their number on a CPU, whose time grows with it."""

MakeLearner = Callable[[LanguageModel], Learner]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a prompt's token read, of an answer's token sampled, of a token learnt, and of an optimizer step.

    `rows` were in flight when a token took that long to sample.
    """

    read: float
    sampled: float
    learnt: float
    update: float
    rows: int


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of a step, all at their limits, and its optimizer steps."""

    read: int
    sampled: int
    learnt: int
    updates: int


def work(config: Config, kinds: int) -> Work:
    """The most that a step can ask for: every proposal valid, every prompt and answer as long as allowed."""
    play, generation = config.selfplay, config.generation
    prompt, propose, solve = (
        generation.max_prompt_tokens,
        generation.max_propose_tokens,
        generation.max_solve_tokens,
    )
    tasks = kinds * play.batch_size  # as many are proposed as are solved
    fresh = tasks if play.learn and not play.learn_from_samples else 0
    attempts = tasks * play.samples + fresh
    learnt = tasks * (prompt + propose) if play.train_proposer else 0
    learnt += tasks * (prompt + (play.samples if play.learn_from_samples else 1) * solve)
    return Work(
        read=(2 * tasks + fresh) * prompt,
        sampled=tasks * propose + attempts * solve,
        learnt=config.learner.epochs * learnt if play.learn else 0,
        updates=config.learner.epochs * config.learner.minibatches if play.learn else 0,
    )


def seconds(asked: Work, pace: Pace) -> float:
    """Time of a step, what the sandbox takes left out."""
    return (
        asked.read * pace.read + asked.sampled * pace.sampled + asked.learnt * pace.learnt + asked.updates * pace.update
    )


def measured(policy: LanguageModel, config: Config, make_learner: MakeLearner) -> Pace:
    """The pace of a model on this machine; it is changed by the updates that are timed."""
    generation = config.generation
    new, prompt = min(_NEW, generation.max_solve_tokens), min(_PROMPT, generation.max_prompt_tokens)
    rows = min(generation.max_rows, _CPU_ROWS if policy.device.type == "cpu" else generation.max_rows)
    endless = replace(policy, eos_ids=(-1,))  # nothing ends before its limit
    decoder = Decoder(endless, max_rows=rows, seed=0)
    ids = torch.randint(policy.model.config.get_text_config().vocab_size, (rows, prompt)).tolist()
    tickets = [Ticket(tuple(row), str(at), range(1), Sampling(new + 1)) for at, row in enumerate(ids)]
    read, sampled = 0.0, 0.0
    for _ in range(2):  # the first warms up
        decoder.reset()
        read = _timed(lambda: decoder.admit(tickets)) / (rows * prompt)
        sampled = _timed(lambda: [decoder.step() for _ in range(new)]) / (rows * new)
    if not config.selfplay.learn:
        return Pace(read, sampled, 0.0, 0.0, rows)
    learner = make_learner(policy)
    samples = [
        TrainSample(
            np.array(row, np.int32),
            np.array(row[:new], np.int32),
            np.full(new, -1.0, np.float32),
            np.full(new, (-1.0) ** at),
            values_T=np.zeros(new, np.float32),
            returns_T=np.zeros(new),
        )
        for at, row in enumerate(ids)
    ]

    def update(count: int) -> None:
        asyncio.run(_update(learner, samples[:count]))

    update(1)
    few, many = _timed(lambda: update(1)), _timed(lambda: update(rows))
    learnt = max(0.0, many - few) / max(1, (rows - 1) * (prompt + new))
    return Pace(read, sampled, learnt, max(0.0, few - learnt * (prompt + new)), rows)


async def _update(learner: Learner, samples: Sequence[TrainSample]) -> None:
    await learner.update(samples)


def scaled(settings: Any, config: Config, device: torch.device, make_learner: MakeLearner) -> Pace:
    """The pace of a model that is not here: of one and two of its layers with random weights, drawn on to all."""
    layers: int = settings.get_text_config().num_hidden_layers
    one, two = (measured(_cut(settings, config, device, count), config, make_learner) for count in (1, 2))
    return _on_to(one, two, layers)


def of_card(shape: Shape, config: Config, memory: Memory, card: Card, *, width: int) -> Pace | None:
    """The pace of a card by its peaks and the assumed shares of them; None where it has no units for bfloat16.

    A token reads all weights once for all rows, and on average half of each row's keys and values; or computes two
    operations a weight. Learning computes six a weight, four where the weights are frozen beside an adapter, and two
    more where activations are computed twice. An optimizer step reads and writes its state, in the card's memory.
    """
    if card.flops is None or config.learner.offload:
        return None
    flops, bandwidth = card.flops * FLOPS_SHARE, card.bandwidth * BANDWIDTH_SHARE
    rows = config.generation.max_rows
    cached = 2 * shape.layers * shape.kv * width * longest(config) / 2
    step = max((memory.weights + rows * cached) / bandwidth, 2 * shape.parameters * rows / flops)
    operations = (4 if config.model.lora.rank else 6) + (2 if config.model.gradient_checkpointing else 0)
    return Pace(
        read=2 * shape.parameters / flops,
        sampled=step / rows,
        learnt=operations * shape.parameters / flops,
        update=2 * (memory.optimizer + memory.gradients) / bandwidth,
        rows=rows,
    )


def _on_to(one: Pace, two: Pace, layers: int) -> Pace:
    """A straight line through the paces of one and two layers."""

    def drawn(first: float, second: float) -> float:
        return first + (layers - 1) * max(0.0, second - first)

    return Pace(
        drawn(one.read, two.read),
        drawn(one.sampled, two.sampled),
        drawn(one.learnt, two.learnt),
        drawn(one.update, two.update),
        one.rows,
    )


def _cut(settings: Any, config: Config, device: torch.device, layers: int) -> LanguageModel:
    """A model of the first layers, with random weights and no tokenizer."""
    settings = copy.deepcopy(settings)
    text = settings.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    half = config.model.dtype in ("bfloat16", "float16") or (config.model.dtype == "auto" and device.type == "cuda")
    model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16 if half else torch.float32).eval()
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.model.lora.rank:
        adapters.attach(model, config.model.lora)
    return LanguageModel("", model.to(device), None, (-1,), (), None, adapted=config.model.lora.rank > 0)


def _timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
