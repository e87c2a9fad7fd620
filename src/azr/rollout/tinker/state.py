"""The file of a checkpoint that says where a Tinker service has weights and optimizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from azr.errors import UserError

STATE = "tinker.json"


def write_state(folder: Path, *, path: str, updates: int, base_model: str) -> None:
    """Note where the service has the state after so many updates."""
    state = {"path": path, "updates": updates, "base_model": base_model}
    (folder / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """Where the service has the state of a checkpoint: `path`, `updates`, `base_model`.

    Raises:
        UserError: the file is missing, or was changed.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not (isinstance(state["path"], str) and isinstance(state["updates"], int)):
            raise TypeError("path or updates has another type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / STATE}: not the state of a model on a Tinker service ({error})") from None
    return state
