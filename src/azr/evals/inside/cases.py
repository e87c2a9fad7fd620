"""How contest sites compare values: as JSON. Runs in `replay.py`, before the tests."""

import json
from typing import Any


def azr_check() -> None:
    """Compare every recorded value with the published one."""
    for call, published in azr_cases:  # type: ignore[name-defined]  # noqa: F821
        azr_replay.assertions += 1  # type: ignore[name-defined]  # noqa: F821
        out = azr_replay.value(call)  # type: ignore[name-defined]  # noqa: F821
        if azr_listed(out) != json.loads(published):
            azr_replay.failures.append(call[:200])  # type: ignore[name-defined]  # noqa: F821


def azr_listed(value: Any) -> Any:
    """A value as JSON would return it: tuples as lists, keys as strings."""
    if isinstance(value, (list, tuple)):
        return [azr_listed(item) for item in value]
    if isinstance(value, dict):
        return {str(key): azr_listed(item) for key, item in value.items()}
    return value
