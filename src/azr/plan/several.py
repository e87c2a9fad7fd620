"""What `azr plan --gpus` prints: how to divide the GPUs of one machine, what fits, what is slow, and what to type."""

import shlex
from collections.abc import Generator, Iterator, Sequence

from azr import settings
from azr.analysis.text import duration
from azr.config import Config
from azr.errors import UserError
from azr.plan.assumed import MEDIAN_TOKENS, PROMPT_TOKENS, VALID
from azr.plan.cards import Card, card
from azr.plan.command import many, purposes, settings_of
from azr.plan.layouts import Layout, layouts
from azr.plan.machine import ENGINE
from azr.plan.memory import Shape, half_precision, longest, shape_of
from azr.plan.pace import BANDWIDTH_SHARE, FLOPS_SHARE
from azr.plan.smaller import SPARE, nearest, size_text
from azr.train.start import resolve

MACHINE = 8
"""GPUs of one machine, at most."""

_PLANNED = ("learner.processes=", "generation.urls=")
"""Assignments that the plan replaces."""


def plan_machine(source: str, assignments: Sequence[str], gpu: str | None, gpus: int) -> Generator[str, None, bool]:
    """Divide the GPUs of one machine among learning and sampling; yields lines of text.

    Args:
        source: preset or file.
        assignments: KEY.SUB=VALUE.
        gpu: a card in `azr.plan.cards`.
        gpus: how many of them.

    Returns:
        whether the run fits.

    Raises:
        UserError: the card or the number of GPUs cannot be planned for, or the model's configuration not loaded.
    """
    if gpu is None:
        raise UserError(f"--gpus {gpus}: name the card too, such as --gpu h100-80gb")
    if not 1 <= gpus <= MACHINE:
        raise UserError(
            f"--gpus {gpus}: azr plan divides one machine of up to {MACHINE} GPUs; for several machines see"
            " docs/many-gpus.md, and bench/scaling_sim.py for the time per step"
        )
    chosen, config = card(gpu), resolve(source, assignments)
    if config.model.served is not None:
        raise UserError(f"model {config.model.name}: it runs on a server, so there is nothing to plan for this machine")
    shape, width = shape_of(settings_of(config)), 2 if half_precision(config, "cuda") else 4
    room = int(chosen.memory * SPARE)
    kept = [word for word in assignments if not word.startswith(_PLANNED)]
    tree = resolve(source, kept).model_dump(mode="json", exclude_none=True)

    def changed(words: Sequence[str]) -> Config:
        # Not by `resolve`, which would look for plug-ins hundreds of times.
        return settings.check(type(config), settings.override(tree, words), source=source)

    def ways(changes: Sequence[str], count: int = gpus) -> list[Layout]:
        resolved = lambda words: changed([*changes, *words])  # noqa: E731
        return list(layouts(resolved, shape, chosen, gpus=count, room=room, width=width))

    yield f"model: {config.model.name}, {many(shape.parameters)} parameters, {width} bytes each"
    fitting = [way for way in ways([]) if way.short(room) <= 0]
    if not fitting:
        more = next((n for n in range(gpus + 1, MACHINE + 1) if _least(ways([], n), room) <= 0), None)
        changes = nearest(changed, lambda words: _least(ways(words), room))
        yield _refusal(gpu, gpus, room, ways([]), more, changes)
        return False
    best = min(fitting, key=lambda way: (way.step, way.ranks, way.tensor_parallel))
    yield from _described(best, shape, gpu, gpus, room)
    yield from _timed(best, chosen)
    yield "type:"
    yield from (f"  {line}" for line in commands(best, source, kept, gpus))
    return True


def commands(layout: Layout, source: str, assignments: Sequence[str], gpus: int) -> Iterator[str]:
    """The command lines that start a layout: the servers' first, if there are any."""
    config = layout.config
    if layout.copies:
        used = layout.copies * layout.tensor_parallel
        first = gpus - used
        words = ["azr", "serve", config.model.name, "--gpus", f"{first}-{gpus - 1}" if used > 1 else str(first)]
        words += ["--tensor-parallel", str(layout.tensor_parallel)] if layout.tensor_parallel > 1 else []
        yield shlex.join([*words, "--", "--max-model-len", str(longest(config))])
    replaced = [word.partition("=")[0] + "=" for word in layout.words]
    kept = [word for word in assignments if not word.startswith(tuple(replaced))]
    yield shlex.join(["azr", "train", source, *kept, *layout.words])


def _least(ways: Sequence[Layout], room: int) -> int:
    return min(way.short(room) for way in ways)


def _refusal(
    gpu: str, gpus: int, room: int, ways: Sequence[Layout], more: int | None, changes: Sequence[str] | None
) -> str:
    closest = min(ways, key=lambda way: way.short(room))
    peak = max(memory.peak for memory in closest.memory)
    wanted = [] if more is None else [f"--gpus {more}"]
    wanted += [] if not changes else [" ".join(changes)]
    return (
        f"does not fit {gpus} x {gpu}: in the layout that needs least, rank 0 takes {size_text(peak)} of"
        f" {size_text(room)}; " + (f"it would fit with {' or with '.join(wanted)}" if wanted else "no setting helps")
    )


def _described(layout: Layout, shape: Shape, gpu: str, gpus: int, room: int) -> Iterator[str]:
    how = "" if layout.ranks == 1 else ", sharded" if layout.sharded else ", replicated"
    sampling = "rank 0 samples too"
    if layout.copies:
        sampling = f"{layout.copies * layout.tensor_parallel} sample on a vLLM server"
        sampling += f" with {layout.copies} {'copies' if layout.copies > 1 else 'copy'} of the model"
        sampling += f" on {layout.tensor_parallel} GPUs each" if layout.tensor_parallel > 1 else ""
    idle = gpus - layout.ranks - layout.copies * layout.tensor_parallel
    yield (
        f"layout of {gpus} x {gpu}: {layout.ranks} {'learns' if layout.ranks == 1 else 'learn'}{how}; {sampling}"
        + (f"; {idle} {'is' if idle == 1 else 'are'} idle" if idle else "")
    )
    first, last = layout.memory[0], layout.memory[-1]
    yield f"  {'memory per GPU':<36} {'rank 0':>10}" + (f" {'other ranks':>11}" if layout.ranks > 1 else "")
    others = purposes(last)
    for name, size in purposes(first).items():
        if size or others[name]:
            other = f" {size_text(others[name]):>11}" if layout.ranks > 1 else ""
            yield f"  {name:<36} {size_text(size):>10}{other}"
    peaks = f"  {'peak':<36} {size_text(first.peak):>10}" + (f" {size_text(last.peak):>11}" if layout.ranks > 1 else "")
    yield f"{peaks}   of {size_text(room)} ({SPARE:.0%})"
    if layout.server:
        server = layout.server
        yield (
            f"  a server's GPU: weights {size_text(server.weights)}, vLLM itself {size_text(ENGINE)} (assumed), keys"
            f" and values {size_text(server.cache)}: {server.rows} sequences of {longest(layout.config)} tokens"
        )


def _timed(layout: Layout, card: Card) -> Iterator[str]:
    if not layout.seconds:
        why = "the card has no bfloat16 units" if card.flops is None else "learner.offload depends on the host"
        yield f"time: not measured, and not estimated: {why}"
        return
    parts = {name: spent for name, spent in layout.seconds.items() if spent}
    slowest = max(parts, key=lambda name: parts[name])
    yield f"time per step: about {_about(layout.step)}: " + ", ".join(f"{n} {_about(s)}" for n, s in parts.items())
    yield f"bottleneck: {slowest}"
    yield (
        f"  not measured: assumes {BANDWIDTH_SHARE:.0%} of {card.bandwidth / 1e9:.0f} GB/s, {FLOPS_SHARE:.0%} of"
        f" {card.flops / 1e12 if card.flops else 0:.0f} TFLOP/s and {card.link / 1e9:.0f} GB/s between GPUs, prompts of"
        f" {PROMPT_TOKENS} tokens, answers of {MEDIAN_TOKENS} at the median, {VALID:.0%} valid proposals; without the"
        " sandbox"
    )


def _about(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
