"""What the files of a model tell without loading it."""

from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open


def stored_parameters(folder: Path) -> int | None:
    """Number of parameters in a folder's safetensors files; None if it has none that can be read."""
    total = 0
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="numpy") as file:
                total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  # no dict
    except (OSError, SafetensorError):
        return None
    return total or None
