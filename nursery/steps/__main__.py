"""`python -m nursery.steps FOLDER`, from the repository's root: make the model that is built for length."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from nursery.steps.build import QUICK, SHIPPED, build, with_sizes
from nursery.steps.heldout import write_sets


def main() -> None:
    """Make the model, or write the held-out sets."""
    parser = argparse.ArgumentParser(prog="python -m nursery.steps", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", type=Path, help="where to write; an interrupted build goes on from there")
    parser.add_argument("--quick", action="store_true", help="a tiny model in a minute or two; it knows little")
    parser.add_argument("--seed", type=int, default=0, help="of documents and weights")
    parser.add_argument(
        "--sized", action="store_true", help="ask half of the proposals for a number of statements (domain.sizes)"
    )
    parser.add_argument("--held-out", action="store_true", help="write the held-out sets instead of a model")
    words = parser.parse_args()
    if words.held_out:
        write_sets(words.folder)
        return
    torch.set_num_threads(1)  # more do not help a model this small
    recipe = replace(QUICK if words.quick else SHIPPED, seed=words.seed)
    build(words.folder, with_sizes(recipe) if words.sized else recipe)


if __name__ == "__main__":
    main()
