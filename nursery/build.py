"""Make the nursery's base model from scratch: draw programs, write documents, train, save a Hugging Face folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from nursery.corpus import build_corpus
from nursery.documents import Mix
from nursery.heldout import excluded_forms
from nursery.tokenizer import build_tokenizer
from nursery.train import Point, Schedule, Shape, new_model, train

FOLDER = Path(str(resources.files("azr.models"))) / "weights" / "nursery"
"""The base model that ships."""
RECORD = "nursery.json"
"""File in the model's folder that records how it was made: recipe, data statistics, loss curve."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the base model.

    Attributes:
        programs: number of programs; each gives about six documents of 100 tokens.
        mix: how many documents of which family.
        schedule: budget and optimizer. A budget in tokens is reproducible, one in seconds is not.
        seed: of programs, documents, weights and order.
        shape: the architecture.
    """

    programs: int
    mix: Mix
    schedule: Schedule
    seed: int = 0
    shape: Shape = Shape()  # noqa: RUF009  # frozen


SHIPPED = Recipe(
    programs=24_000,
    mix=Mix(trace=1.6, backward=1.2, abduction=1.0, induction=1.0, propose=0.3, think=0.2, give_up=0.15),
    schedule=Schedule(tokens=32_000_000),
)
"""What the model that ships is made of."""
QUICK = Recipe(
    programs=1_500,
    mix=Mix(),
    schedule=Schedule(seconds=45),
    shape=Shape(hidden=64, layers=3, heads=2, feed_forward=192),
)
"""A tiny model in about a minute: it knows the formats and little else."""


def build(
    folder: Path,
    recipe: Recipe,
    *,
    processes: int = 2,
    threads: int = 2,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make a base model and save it as a Hugging Face folder (bf16 safetensors).

    Args:
        folder: made if need be.
        recipe: `SHIPPED`, `QUICK`, or another.
        processes: workers that write documents.
        threads: torch's threads; restored afterwards.
        report: called with each line of progress.

    Returns:
        the record that is written to `nursery.json` in the folder.
    """
    tokenizer = build_tokenizer()
    pad = tokenizer.pad_token_id
    model = new_model(recipe.shape, vocabulary=len(tokenizer), eos=tokenizer.eos_token_id, pad=pad, seed=recipe.seed)
    began, before = time.monotonic(), torch.get_num_threads()
    corpus = build_corpus(
        recipe.programs, seed=recipe.seed, mix=recipe.mix, excluded=excluded_forms(), processes=processes
    )
    drawn = time.monotonic()
    report(f"{len(corpus.lengths)} documents, {len(corpus.tokens)} tokens")
    curve: list[Point] = []

    def keep(point: Point) -> None:
        curve.append(point)
        report(f"step {point.step}: {point.tokens} tokens, {point.seconds:.0f} s, loss {point.loss:.3f}")

    torch.set_num_threads(threads)
    try:
        train(model, corpus, recipe.schedule, pad=pad, seed=recipe.seed, report=keep)
    finally:
        torch.set_num_threads(before)
    record = {
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "documents": len(corpus.lengths),
        "tokens": len(corpus.tokens),
        "counts": dict(sorted(corpus.counts.items())),
        "seconds": {"drawing": round(drawn - began, 1), "training": round(time.monotonic() - drawn, 1)},
        "curve": [asdict(point) for point in curve],
    }
    save(model, tokenizer, record, folder)
    return record


def save(model: Any, tokenizer: Any, record: dict[str, Any], folder: Path) -> None:
    """Write the model in bf16, its tokenizer, and the record of how it was made (`nursery.json`)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
