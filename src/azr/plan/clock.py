"""How long a run takes, in words: from a trial on this machine, else from partial timings, else from a card's peaks."""

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from azr.analysis.text import duration
from azr.config import Config
from azr.models import shipped
from azr.models.failures import pick_device
from azr.models.load import load_model
from azr.models.threads import threads
from azr.plan import pace as paces
from azr.plan.cards import Card
from azr.plan.memory import Memory, Shape, count
from azr.plan.pace import BANDWIDTH_SHARE, FLOPS_SHARE, Pace, work
from azr.plan.trial import TRIAL_SECONDS, Trial, evaluations, times, try_out
from azr.train.start import open_parts

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def here(config: Config, settings: Any, shape: Shape, *, width: int, room: int) -> Iterator[str]:
    """Time the run on this machine; yields lines of text.

    `settings` is the model's transformers configuration, `width` the bytes per number that it computes with, and `room`
    the bytes of memory that the run may use.
    """
    torch.set_num_threads(config.threads or threads(shape.parameters))
    kinds = len(config.domain.kinds)
    if not weights_are_here(config.model.name) or count(shape, config, width=width).peak > room:
        two = replace(shape, layers=2, parameters=shape.parameters - (shape.layers - 2) * shape.linear // shape.layers)
        if config.model.quantization != "none" or count(two, config, width=width).peak > room:
            yield "time: not measured; the model is not downloaded or does not fit, and neither do two of its layers"
            return
        pace = paces.scaled(settings, config, pick_device(config.model.device))
        how = f"extrapolated from 1 and 2 of its {shape.layers} layers with random weights, timed here"
        yield from _at_most(config, pace, how)
        return
    name = shipped.resolve(config.model.name)
    pace = paces.measured(load_model(config.model.model_copy(update={"name": name})), config)
    gc.collect()  # the timed updates changed this model, so the trial loads it again; two may not fit
    if _longest_trial(config, pace, kinds) > 4 * TRIAL_SECONDS:
        yield from _at_most(config, pace, "timed here; a step takes too long for a trial")
        return
    yield from _tried(config, asyncio.run(_trial(config)))


def on_card(config: Config, shape: Shape, memory: Memory, card: Card, *, width: int) -> Iterator[str]:
    """Bound the time on a card that need not be in this machine, from its peaks; yields lines of text."""
    pace = paces.of_card(shape, config, memory, card, width=width)
    if pace is None or card.flops is None:
        why = "the card has no bfloat16 units" if card.flops is None else "learner.offload depends on the host"
        yield f"time: not measured, and not estimated: {why}"
        return
    how = (
        f"not measured: assumes {BANDWIDTH_SHARE:.0%} of {card.bandwidth / 1e9:.0f} GB/s and {FLOPS_SHARE:.0%} of"
        f" {card.flops / 1e12:.0f} TFLOP/s, the peaks in the {card.source}; without the sandbox"
    )
    yield from _at_most(config, pace, how)


def weights_are_here(name: str) -> bool:
    """Whether a model can be loaded without a download."""
    folder = Path(shipped.resolve(name))
    if folder.is_dir():
        return any((folder / file).is_file() for file in _WEIGHTS)
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in _WEIGHTS)


def _longest_trial(config: Config, pace: Pace, kinds: int) -> float:
    """Seconds of the smallest trial if every completion is as long as allowed, by tokens and by sequential decoding."""
    small = config.model_copy(update={"selfplay": config.selfplay.model_copy(update={"batch_size": 1})})
    generation = config.generation
    in_a_row = (2 * kinds + 1) * generation.max_propose_tokens + 2 * generation.max_solve_tokens
    return max(3 * paces.seconds(work(small, kinds), pace), in_a_row * pace.sampled * pace.rows)


async def _trial(config: Config) -> Trial:
    async with open_parts(config) as parts:
        return await try_out(config, parts)


def _tried(config: Config, trial: Trial) -> Iterator[str]:
    found, batch = times(config, trial), config.selfplay.batch_size
    scale = batch / trial.batch
    basis = "" if trial.batch == batch else f", from one with {trial.batch} of {batch} proposals per kind"
    basis = f", the mean of {trial.steps}" if trial.steps > 1 else basis
    play, learn = trial.play * scale, trial.learn * scale
    yield f"time per step: {_about(found.step)}{basis}: play {play:.1f} s, learn {learn:.1f} s"
    yield "  valid proposals: " + ", ".join(f"{kind} {share:.0%}" for kind, share in trial.valid.items())
    yield (
        f"  rollouts: {trial.rollouts * scale:.0f} of {trial.tokens / max(1, trial.rollouts):.0f} tokens,"
        f" {trial.unfinished:.0%} cut at their limit; {trial.tokens / trial.play:.0f} tokens per second of play"
    )
    if trial.jobs:
        servers = f" on {' and '.join(config.sandbox.url)}" if config.sandbox.backend == "remote" else ""
        yield f"  sandbox: {trial.jobs / trial.sandbox:.0f} jobs per second{servers}, {trial.jobs * scale:.0f} per step"
    yield (
        f"time of the run: {_about(found.run)}: seeding {_about(found.seeding)}, {config.steps} steps,"
        f" {evaluations(config)} evaluations of {_about(found.evaluation)}; without saving"
    )
    yield f"events: {trial.events * scale * config.steps / 2**20:.1f} MiB"


def _at_most(config: Config, pace: Pace, how: str) -> Iterator[str]:
    step = paces.seconds(work(config, len(config.domain.kinds)), pace)
    learning = f", {1 / pace.learnt:.0f} learnt" if pace.learnt else ""
    yield f"tokens per second: {1 / pace.read:.0f} read, {1 / pace.sampled:.0f} sampled{learning}"
    yield (
        f"time per step: at most {_about(step)}, {_about(config.steps * step)} for {config.steps} steps, if all prompts"
        f" and completions are as long as allowed ({how})"
    )


def _about(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return duration(seconds) if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
