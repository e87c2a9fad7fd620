"""What `azr plan` prints: what a run needs, whether it fits, the nearest settings that would, and how long it takes."""

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from azr.config import Config
from azr.errors import UserError
from azr.models import hub, shipped
from azr.models.failures import no_model, pick_device
from azr.plan.cards import Card, card
from azr.plan.clock import here, on_card
from azr.plan.memory import Memory, Shape, count, half_precision, longest, shape_of
from azr.plan.shapes import published
from azr.plan.smaller import SPARE, advice, nearest, size_text
from azr.train.start import resolve


def plan(source: str, assignments: Sequence[str], gpu: str | None, *, timed: bool = True) -> Generator[str, None, bool]:
    """Compare what a run needs with what this machine or a known card has; yields lines of text.

    The run is that of a preset or file with overrides, KEY.SUB=VALUE. `gpu` names a card in `azr.plan.cards`; None is
    this machine, on which a trial is run if `timed`, which takes a minute or two.

    Returns:
        whether the run fits.

    Raises:
        UserError: the model's configuration cannot be loaded, or the card is unknown.
    """
    config = resolve(source, assignments)
    if config.model.served is not None:
        raise UserError(f"model {config.model.name}: it runs on a server, so there is nothing to plan for this machine")
    if config.model.hosted is not None:
        raise UserError(
            f"model {config.model.name}: a Tinker service runs it, so there is nothing to plan for this machine"
        )
    chosen = None if gpu is None else card(gpu)
    device, total = _device(config, gpu, chosen)
    settings = settings_of(config)
    shape = shape_of(settings)
    width = 2 if half_precision(config, device) else 4
    memory, room = count(shape, config, width=width), int(total * SPARE)
    yield f"model: {config.model.name}, {many(shape.parameters)} parameters, {width} bytes each on {device}"
    yield from memory_lines(memory)
    fits = "fits" if memory.peak <= room else "does not fit"
    share = f"{SPARE:.0%} of {size_text(total)} on {gpu or device}"
    yield f"peak {size_text(memory.peak)} of {size_text(room)} ({share}): {fits}"
    yield f"micro-batch: {max(config.learner.token_budget, longest(config))} tokens; longest row {longest(config)}"
    checkpoints = config.checkpoint.keep + 1
    yield f"disk: {size_text(_disk(shape, config, memory))} for {checkpoints} checkpoints and the exported model"
    if chosen is not None:
        yield from on_card(config, shape, memory, chosen, width=width)
    elif timed:
        yield from here(config, settings, shape, width=width, room=room)
    if memory.peak > room:

        def peak(changes: Sequence[str]) -> int:
            return count(shape, resolve(source, [*assignments, *changes]), width=width).peak

        changes = nearest(
            lambda changes: resolve(source, [*assignments, *changes]), lambda changes: peak(changes) - room
        )
        yield advice(changes, peak(changes or []))
    return memory.peak <= room


def show_plan(source: str, assignments: Sequence[str], gpu: str | None, *, timed: bool = True) -> bool:
    """Print the lines of `plan` as they come; returns whether the run fits."""
    return show(plan(source, assignments, gpu, timed=timed))


def show(lines: Generator[str, None, bool]) -> bool:
    """Print lines as they come; returns what the generator returns."""
    while True:
        try:
            print(next(lines), flush=True)
        except StopIteration as end:
            return bool(end.value)


def _device(config: Config, gpu: str | None, chosen: Card | None) -> tuple[str, int]:
    """The type of device, and its memory in bytes."""
    if chosen is not None:
        return "cuda", chosen.memory
    device = pick_device(config.model.device)
    if device.type == "cuda":
        return "cuda", torch.cuda.get_device_properties(device).total_memory
    return device.type, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def settings_of(config: Config) -> Any:
    """The transformers configuration of a run's model.

    Raises:
        UserError: it cannot be loaded.
    """
    name = shipped.resolve(config.model.name)
    if not Path(name).is_dir() and (known := published(name)) is not None:
        return known
    try:
        return AutoConfig.from_pretrained(
            name, trust_remote_code=config.model.trust_remote_code, local_files_only=hub.only_local(name)
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(no_model(name, error)) from error


def memory_lines(memory: Memory) -> Iterator[str]:
    """A line for each purpose that takes memory."""
    yield from (f"  {name:<36} {size_text(size):>10}" for name, size in purposes(memory).items() if size)


def purposes(memory: Memory) -> dict[str, int]:
    """Bytes by purpose, in the words of a plan."""
    return {
        "weights": memory.weights,
        "whole model, to sample and save": memory.whole,
        "reference, for the KL divergence": memory.reference,
        "optimizer, including float32 copies": memory.optimizer,
        "libraries": memory.runtime,
        "sampling: joined weights": memory.joined,
        "sampling: keys and values": memory.cache,
        "sampling: probabilities": memory.sampling,
        "learning: weights of other ranks": memory.gathered,
        "learning: gradients": memory.gradients,
        "learning: activations": memory.activations,
        "learning: logits": memory.logits,
        "at the start, before it is divided": memory.start,
        "in the CPU's memory": memory.host,
    }


def _disk(shape: Shape, config: Config, memory: Memory) -> int:
    """Bytes on disk: checkpoints hold what learns and the optimizer state; one more exists while it is written."""
    state = memory.optimizer or memory.host
    learnt = shape.adapter * config.model.lora.rank * 4 or memory.weights
    return (config.checkpoint.keep + 1) * (state + learnt) + memory.weights


def many(count: int) -> str:
    """A number of parameters as text, such as "7.62 billion"."""
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"
