"""The models that ship with the package."""

from importlib import resources
from pathlib import Path

from azr.errors import UserError

MODELS = ("nursery", "nursery-primes", "nursery-steps")


def resolve(name: str) -> str:
    """The folder of a shipped model; any other name unchanged, since it is a folder or a hub name.

    Raises:
        UserError: the shipped model is missing from this installation.
    """
    if name not in MODELS:
        return name
    path = Path(str(resources.files("azr.models"))) / "weights" / name
    if not (path / "config.json").is_file():
        raise UserError(f"model {name}: {path} is missing from this installation; reinstall azr")
    return str(path)
