"""Make `nursery-steps` from scratch: train on documents about short programs and save a Hugging Face folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from nursery.build import save
from nursery.steps.documents import Mix, documents
from nursery.steps.heldout import is_held_out
from nursery.steps.tokenizer import build_tokenizer
from nursery.steps.train import Plan, new_model, train
from nursery.train import Shape

FOLDER = Path(str(resources.files("azr.models"))) / "weights" / "nursery-steps"
"""The model that ships."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training: what is read, and how it is trained on."""

    mix: Mix
    plan: Plan


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the model.

    Attributes:
        stages: one after another. The first is arithmetic and look-ups, which are much slower to learn inside traces.
        shape: the architecture.
        partly_nope: whether every other layer has no positions.
        seed: of weights, documents and positions.
    """

    stages: tuple[Stage, ...]
    shape: Shape = Shape(hidden=96, feed_forward=256)  # noqa: RUF009  # frozen
    partly_nope: bool = False
    seed: int = 0


PARTS = Mix(drill=0.6, lookup=0.4)
ATTEMPTS = Mix(
    drill=0.3,
    lookup=0.15,
    listings=(1, 2, 3, 3, 4, 5, 6, 8, 10, 12),
    propose=0.05,
    extend=0.07,
    join=0.05,
    shifted=0.5,
)
SHIPPED = Recipe(
    stages=(
        Stage(PARTS, Plan(steps=600, batch=200)),
        Stage(ATTEMPTS, Plan(steps=1100, batch=90, positions="gaps", gapped=0.5, longest=160)),
    )
)
"""What the model that ships is made of."""
QUICK = Recipe(
    stages=(Stage(PARTS, Plan(steps=50, batch=60)), Stage(ATTEMPTS, Plan(steps=100, batch=8))),
    shape=Shape(64, 2, 2, 128),
)
"""A tiny model in a minute or two: it knows the formats and little else."""


def with_sizes(recipe: Recipe) -> Recipe:
    """The same, with half of the invented and extended programs asked for by their number of statements."""
    stages = (replace(stage, mix=replace(stage.mix, sized=0.5)) for stage in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def build(folder: Path, recipe: Recipe, *, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a model and save it (bf16 safetensors), or go on where an interrupted build stopped.

    Args:
        folder: made if need be. While training, it has a checkpoint of each stage.
        recipe: `SHIPPED`, `QUICK`, or another.
        report: called with each line of progress.

    Returns:
        the record that is written to `nursery.json` in the folder.
    """
    tokenizer = build_tokenizer()
    model = new_model(recipe.shape, tokenizer, partly_nope=recipe.partly_nope, seed=recipe.seed)
    began = time.process_time()
    checkpoints = [folder / f"stage-{number}.pt" for number in range(1, len(recipe.stages) + 1)]
    tokens = []
    for stage, checkpoint in zip(recipe.stages, checkpoints, strict=True):
        plan = replace(stage.plan, seed=recipe.seed)
        source = partial(documents, stage.mix, known=is_held_out)
        tokens.append(train(model, tokenizer, source, plan, checkpoint=checkpoint, report=report))
    record = {
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": tokens,
        "processor_seconds_since_the_last_start": round(time.process_time() - began),
    }
    save(model, tokenizer, record, folder)
    for checkpoint in checkpoints:
        checkpoint.unlink()
    return record
