"""`python -m nursery FOLDER`, from the repository's root: make the small model that ships, from nothing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from nursery.build import QUICK, SHIPPED, build


def main() -> None:
    """Draw programs, write documents, train, save."""
    parser = argparse.ArgumentParser(prog="python -m nursery", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--quick", action="store_true", help="a tiny one in a minute or two; it knows little")
    parser.add_argument("--seed", type=int, default=0, help="of programs, documents, weights and order")
    words = parser.parse_args()
    build(words.folder, replace(QUICK if words.quick else SHIPPED, seed=words.seed), report=print)
    print(f"use it with: azr train demo --model {words.folder}")


if __name__ == "__main__":
    main()
