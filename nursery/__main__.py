"""`python -m nursery FOLDER`, from the repository's root: make the small model that ships, from scratch."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from nursery.build import QUICK, RECORD, SHIPPED, build
from nursery.heldout import SETS, write_set


def main() -> None:
    """Make the model, or write the held-out sets."""
    parser = argparse.ArgumentParser(prog="python -m nursery", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--quick", action="store_true", help="a tiny model in a minute or two; it knows little")
    parser.add_argument("--seed", type=int, default=0, help="of programs, documents, weights and order")
    parser.add_argument("--held-out", action="store_true", help="write the held-out sets instead of a model")
    words = parser.parse_args()
    if words.held_out:
        for name in SETS:
            write_set(name, words.folder)
        return
    if foreign(words.folder):
        parser.exit(
            2, f"nursery: error: {words.folder}: holds something else than a nursery model; name a new folder\n"
        )
    build(words.folder, replace(QUICK if words.quick else SHIPPED, seed=words.seed), report=print)
    print(f"use it with: azr train demo --model {words.folder}")


def foreign(folder: Path) -> bool:
    """Whether a path is taken by something that this command did not make."""
    if not folder.is_dir():
        return folder.exists()
    return any(folder.iterdir()) and not (folder / RECORD).is_file()


if __name__ == "__main__":
    main()
