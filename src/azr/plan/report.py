"""What `azr plan` prints: whether a run fits, what it needs by part, and the nearest settings under which it fits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import AutoConfig

from azr.config import Config
from azr.errors import UserError
from azr.models import hub, shipped
from azr.models.failures import no_model, pick_device
from azr.plan.cards import Card, card
from azr.plan.clock import Builders, here, on_card
from azr.plan.memory import Memory, Shape, count, longest, shape_of

_SPARE = 0.9
"""Share of a device's memory that a plan may fill; fragments and the driver want the rest."""

_SMALLER = (
    "model.gradient_checkpointing=true",
    "learner.token_budget={longest}",
    "generation.max_rows=64",
    "generation.max_rows=16",
    "learner.optimizer=adamw-8bit",
    "learner.offload=true",
    "model.lora.rank=16",
    "model.quantization=4bit",
    "generation.max_rows=4",
)
"""What to give up, least painful first: time, then exactness, then how many weights learn."""


def lines(
    resolve: Callable[[Sequence[str]], Config], gpu: str | None, builders: Builders | None = None
) -> Iterator[str]:
    """The plan, line by line.

    Args:
        resolve: the configuration with further assignments.
        gpu: a card of `azr.plan.cards`; None: this machine.
        builders: makes what is timed on this machine; None: nothing is.

    Raises:
        UserError: the model's configuration cannot be had, or the card is unknown.
    """
    config = resolve(())
    if config.model.served is not None:
        raise UserError(f"model {config.model.name}: a server has it, so there is nothing to plan for here")
    chosen = None if gpu is None else card(gpu)
    device, total = _device(config, gpu, chosen)
    settings = _settings(config)
    shape = shape_of(settings)
    width = _width(config, device)
    memory, room = count(shape, config, width=width), int(total * _SPARE)
    yield f"model: {config.model.name}, {many(shape.parameters)} parameters, {width} bytes each on {device}"
    yield from _table(memory)
    fits = "fits" if memory.peak <= room else "does not fit"
    yield f"peak {_size(memory.peak)} of {_size(room)} ({_SPARE:.0%} of {_size(total)} on {gpu or device}): {fits}"
    yield f"micro-batch: {max(config.learner.token_budget, longest(config))} tokens; longest row {longest(config)}"
    checkpoints = config.checkpoint.keep + 1
    yield f"disk: {_size(_disk(shape, config, memory))} for {checkpoints} checkpoints and the exported model"
    if chosen is not None:
        yield from on_card(config, shape, memory, chosen, width=width)
    elif builders is not None:
        yield from here(config, settings, shape, width=width, room=room, builders=builders)
    if memory.peak > room:
        yield nearest(resolve, shape, width=width, room=room)


def nearest(resolve: Callable[[Sequence[str]], Config], shape: Shape, *, width: int, room: int) -> str:
    """The first settings, in the order of what they cost, under which the run fits."""
    given: list[str] = []
    for change in _SMALLER:
        assignment = change.format(longest=longest(resolve(given)))
        before = count(shape, resolve(given), width=width).peak
        try:
            after = count(shape, resolve([*given, assignment]), width=width).peak
        except UserError:  # settings that exclude each other
            continue
        if after >= before:
            continue
        given.append(assignment)
        if after <= room:
            return f"it would fit, with {_size(after)}, under: {' '.join(given)}"
    return "nothing that azr can change makes it fit; take a smaller model, or lower generation.max_*_tokens"


def _device(config: Config, gpu: str | None, chosen: Card | None) -> tuple[str, int]:
    """The kind of device, and the bytes of its memory."""
    if chosen is not None:
        return "cuda", chosen.memory
    device = pick_device(config.model.device)
    if device.type == "cuda":
        return "cuda", torch.cuda.get_device_properties(device).total_memory
    return device.type, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _width(config: Config, device: str) -> int:
    half = config.model.dtype in ("bfloat16", "float16") or (config.model.dtype == "auto" and device == "cuda")
    return 2 if half else 4


def _settings(config: Config) -> Any:
    name = shipped.resolve(config.model.name)
    try:
        return AutoConfig.from_pretrained(
            name, trust_remote_code=config.model.trust_remote_code, local_files_only=hub.only_local(name)
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(no_model(name, error)) from error


def _table(memory: Memory) -> Iterator[str]:
    parts = {
        "weights": memory.weights,
        "optimizer, float32 copies included": memory.optimizer,
        "libraries": memory.runtime,
        "sampling: keys and values": memory.cache,
        "sampling: probabilities": memory.sampling,
        "learning: gradients": memory.gradients,
        "learning: activations": memory.activations,
        "learning: logits": memory.logits,
        "in the CPU's memory": memory.host,
    }
    for name, size in parts.items():
        if size:
            yield f"  {name:<36} {_size(size):>10}"


def _disk(shape: Shape, config: Config, memory: Memory) -> int:
    """Checkpoints hold what learns and the optimizer's state; one more is being written while the old ones stand."""
    state = memory.optimizer or memory.host
    learnt = shape.adapter * config.model.lora.rank * 4 or memory.weights
    return (config.checkpoint.keep + 1) * (state + learnt) + memory.weights


def many(count: int) -> str:
    """A number of parameters in words."""
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
