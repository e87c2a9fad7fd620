"""Models that ship in the package, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from azr.errors import UserError

MODELS = ("nursery", "nursery-primes")


def resolve(name: str) -> str:
    """The folder of a model that ships, or the name itself, which is then a folder of the user's or a hub name.

    Raises:
        UserError: the model should have come with the package, and did not.
    """
    if name not in MODELS:
        return name
    path = Path(str(resources.files("azr.models"))) / "weights" / name
    if not (path / "config.json").is_file():
        raise UserError(f"model {name}: {path} is missing from this installation; install azr again")
    return str(path)
