"""What `azr plan` prints: what a run needs, whether it fits, the nearest settings that would, and how long it takes."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
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
from azr.train.start import resolve

_SPARE = 0.9
"""Share of a device's memory that a run may use; the rest is left to fragmentation and the driver."""

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
"""What to give up, cheapest first: time, then exactness, then how many weights learn."""


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
    chosen = None if gpu is None else card(gpu)
    device, total = _device(config, gpu, chosen)
    settings = _settings(config)
    shape = shape_of(settings)
    width = 2 if half_precision(config, device) else 4
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
    elif timed:
        yield from here(config, settings, shape, width=width, room=room)
    if memory.peak > room:
        yield _nearest(lambda changes: resolve(source, [*assignments, *changes]), shape, width=width, room=room)
    return memory.peak <= room


def show_plan(source: str, assignments: Sequence[str], gpu: str | None, *, timed: bool = True) -> bool:
    """Print the lines of `plan` as they come; returns whether the run fits."""
    lines = plan(source, assignments, gpu, timed=timed)
    while True:
        try:
            print(next(lines), flush=True)
        except StopIteration as end:
            return bool(end.value)


def _nearest(resolved: Callable[[Sequence[str]], Config], shape: Shape, *, width: int, room: int) -> str:
    """The cheapest changes under which the run fits, as a line of text."""
    changes: list[str] = []
    config = resolved(changes)
    for change in _SMALLER:
        assignment = change.format(longest=longest(config))
        with suppress(UserError):  # settings that exclude each other
            changed = resolved([*changes, assignment])
            after = count(shape, changed, width=width).peak
            if after < count(shape, config, width=width).peak:
                key = assignment.partition("=")[0]
                changes = [*(change for change in changes if change.partition("=")[0] != key), assignment]
                config = changed
                if after <= room:
                    return f"it would fit, with {_size(after)}, under: {' '.join(changes)}"
    return "no setting makes it fit; use a smaller model, or lower generation.max_*_tokens"


def _device(config: Config, gpu: str | None, chosen: Card | None) -> tuple[str, int]:
    """The type of device, and its memory in bytes."""
    if chosen is not None:
        return "cuda", chosen.memory
    device = pick_device(config.model.device)
    if device.type == "cuda":
        return "cuda", torch.cuda.get_device_properties(device).total_memory
    return device.type, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _settings(config: Config) -> Any:
    name = shipped.resolve(config.model.name)
    if not Path(name).is_dir() and (known := published(name)) is not None:
        return known
    try:
        return AutoConfig.from_pretrained(
            name, trust_remote_code=config.model.trust_remote_code, local_files_only=hub.only_local(name)
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(no_model(name, error)) from error


def _table(memory: Memory) -> Iterator[str]:
    parts = {
        "weights": memory.weights,
        "optimizer, including float32 copies": memory.optimizer,
        "libraries": memory.runtime,
        "sampling: keys and values": memory.cache,
        "sampling: probabilities": memory.sampling,
        "learning: gradients": memory.gradients,
        "learning: activations": memory.activations,
        "learning: logits": memory.logits,
        "in the CPU's memory": memory.host,
    }
    yield from (f"  {name:<36} {_size(size):>10}" for name, size in parts.items() if size)


def _disk(shape: Shape, config: Config, memory: Memory) -> int:
    """Bytes on disk: checkpoints hold what learns and the optimizer state; one more exists while it is written."""
    state = memory.optimizer or memory.host
    learnt = shape.adapter * config.model.lora.rank * 4 or memory.weights
    return (config.checkpoint.keep + 1) * (state + learnt) + memory.weights


def many(count: int) -> str:
    """A number of parameters as text, such as "7.62 billion"."""
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
