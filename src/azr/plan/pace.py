"""An upper bound on the time of a step, from the speed of sampling and learning: measured, or from a card's peaks.

For a model that is too slow, too large or not downloaded, so that no trial step (`azr.plan.trial`) can be run. All
prompts and completions are assumed to be as long as allowed; shorter ones take less in proportion.
"""

import asyncio
import copy
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from azr.config import Config
from azr.learn.base import TrainSample
from azr.models import adapters
from azr.models.load import LanguageModel
from azr.plan.cards import Card
from azr.plan.memory import Memory, Shape, half_precision, longest
from azr.rollout.base import Sampling
from azr.rollout.local.decode import Decoder, Ticket
from azr.train.start import make_learner

BANDWIDTH_SHARE, FLOPS_SHARE = 0.5, 0.35
"""The shares of a card's peaks that decoding and matrix products are assumed to reach. Not measured yet; `bench/gpu.py`
measures them."""

_PROMPT, _NEW, _CPU_ROWS = 128, 16, 8
"""Tokens of the prompts and completions that are timed, and how many of them run at once on a CPU."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per prompt token read, completion token sampled, token learnt from, and optimizer step.

    `rows` is how many completions were sampled at once when `sampled` was measured.
    """

    read: float
    sampled: float
    learnt: float
    update: float
    rows: int


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of a step with everything as long as allowed, and its optimizer steps."""

    read: int
    sampled: int
    learnt: int
    updates: int


def work(config: Config, kinds: int) -> Work:
    """The most work that a step can be: every proposal valid, every prompt and completion as long as allowed."""
    play, generation = config.selfplay, config.generation
    prompt, propose, solve = generation.max_prompt_tokens, generation.max_propose_tokens, generation.max_solve_tokens
    tasks = kinds * play.batch_size  # proposed, and as many solved
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


def seconds(work: Work, pace: Pace) -> float:
    """Time of a step in seconds, without the sandbox."""
    return work.read * pace.read + work.sampled * pace.sampled + work.learnt * pace.learnt + work.updates * pace.update


def measured(policy: LanguageModel, config: Config) -> Pace:
    """The pace of a model on this machine. The timed updates change its weights."""
    generation = config.generation
    new, prompt = min(_NEW, generation.max_solve_tokens), min(_PROMPT, generation.max_prompt_tokens)
    rows = min(generation.max_rows, _CPU_ROWS if policy.device.type == "cpu" else generation.max_rows)
    endless = replace(policy, eos_ids=(-1,))  # no completion ends before its limit
    decoder = Decoder(endless, max_rows=rows, seed=0)
    ids = torch.randint(policy.model.config.get_text_config().vocab_size, (rows, prompt)).tolist()
    tickets = [Ticket(tuple(row), str(at), range(1), Sampling(new + 1)) for at, row in enumerate(ids)]
    read, sampled = 0.0, 0.0
    for _ in range(2):  # the first warms up
        decoder.reset()
        read = _timed(lambda: decoder.admit(tickets)) / (rows * prompt)
        sampled = _timed(lambda: _run(decoder, new)) / (rows * new)
    if not config.selfplay.learn:
        return Pace(read, sampled, 0.0, 0.0, rows)
    learner = make_learner(config, policy)
    logprobs, values, returns = np.full(new, -1.0, np.float32), np.zeros(new, np.float32), np.zeros(new)
    samples = []
    for at, row in enumerate(ids):
        read_ids, new_ids = np.array(row, np.int32), np.array(row[:new], np.int32)
        samples.append(TrainSample(read_ids, new_ids, logprobs, np.full(new, (-1.0) ** at), values, returns))

    def update(count: int) -> float:
        return _timed(lambda: asyncio.run(learner.update(samples[:count])))

    _, few, many = update(1), update(1), update(rows)  # the first warms up
    learnt = max(0.0, many - few) / max(1, (rows - 1) * (prompt + new))
    return Pace(read, sampled, learnt, max(0.0, few - learnt * (prompt + new)), rows)


def scaled(settings: Any, config: Config, device: torch.device) -> Pace:
    """The pace on a device of a model without its weights: extrapolated from 1 and 2 layers with random weights."""
    one, two = (measured(_truncated(settings, config, device, count), config) for count in (1, 2))
    return _extrapolated(one, two, settings.get_text_config().num_hidden_layers)


def of_card(shape: Shape, config: Config, memory: Memory, card: Card, *, width: int) -> Pace | None:
    """The pace of a card from its peaks and the shares of them assumed above.

    A decoding step reads all weights once for all rows, and on average half of each row's KV cache; or it is bound by
    two operations per weight and row. Learning takes as many `operations` per weight and token. An optimizer step reads
    and writes its state in the card's memory.

    Returns:
        None if the card has no bfloat16 units, or if `learner.offload` makes the host decide.
    """
    if card.flops is None or config.learner.offload:
        return None
    flops, bandwidth = card.flops * FLOPS_SHARE, card.bandwidth * BANDWIDTH_SHARE
    rows = config.generation.max_rows
    cached = 2 * shape.layers * shape.kv * width * longest(config) / 2
    step = max((memory.weights + rows * cached) / bandwidth, 2 * shape.parameters * rows / flops)
    return Pace(
        read=2 * shape.parameters / flops,
        sampled=step / rows,
        learnt=operations(config) * shape.parameters / flops,
        update=2 * (memory.optimizer + memory.gradients) / bandwidth,
        rows=rows,
    )


def operations(config: Config) -> int:
    """Operations per weight and token that is learnt from.

    Two for a forward pass and four for a backward pass, of which an adapter needs half; two more with gradient
    checkpointing, for the reference of a KL divergence, and for the learner's own log-probabilities before the update,
    which `importance_cap` needs if there are several optimizer steps.
    """
    learner, algorithm = config.learner, config.algorithm
    steps = learner.epochs * learner.minibatches
    passes = [config.model.gradient_checkpointing, algorithm.kl_coefficient, algorithm.importance_cap and steps > 1]
    return (4 if config.model.lora.rank else 6) + 2 * sum(map(bool, passes))


def _extrapolated(one: Pace, two: Pace, layers: int) -> Pace:
    pairs = zip(astuple(one), astuple(two), strict=True)
    return Pace(*(first + (layers - 1) * max(0, second - first) for first, second in pairs))


def _truncated(settings: Any, config: Config, device: torch.device, layers: int) -> LanguageModel:
    """A model of the first layers, with random weights and no tokenizer."""
    settings = copy.deepcopy(settings)
    text = settings.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    dtype = torch.bfloat16 if half_precision(config, device.type) else torch.float32
    model = AutoModelForCausalLM.from_config(settings, dtype=dtype).eval()
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.model.lora.rank:
        adapters.attach(model, config.model.lora)
    return LanguageModel("", model.to(device), None, (-1,), (), None, adapted=config.model.lora.rank > 0)


def _run(decoder: Decoder, tokens: int) -> None:
    """Draw so many tokens per row."""
    while tokens > 0:
        tokens -= decoder.run(tokens)[0]


def _timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
