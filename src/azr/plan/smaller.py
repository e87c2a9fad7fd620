"""The nearest settings under which a run fits into memory."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from azr.config import Config
from azr.errors import UserError
from azr.plan.memory import longest

SPARE = 0.9
"""Share of a device's memory that a run may use; the rest is left to fragmentation and the driver."""

_SMALLER = (
    "model.gradient_checkpointing=true",
    "learner.token_budget={longest}",
    "generation.max_rows=64",
    "generation.max_rows=16",
    "learner.optimizer=adamw-8bit",
    "learner.offload=true",
    "model.lora.rank=16",
    "model.quantization=4bit",
    "generation.max_rows=4",
)
"""What to give up, cheapest first: time, then exactness, then how many weights learn."""


def nearest(resolved: Callable[[Sequence[str]], Config], short: Callable[[Sequence[str]], int]) -> list[str] | None:
    """The cheapest changes under which a run fits; None if there are none.

    Args:
        resolved: the configuration with some changes.
        short: bytes of memory that are missing with some changes.
    """
    changes: list[str] = []
    config, missing = resolved(changes), short(changes)
    for change in _SMALLER:
        assignment = change.format(longest=longest(config))
        with suppress(UserError):  # settings that exclude each other
            changed = resolved([*changes, assignment])
            if (after := short([*changes, assignment])) < missing:
                key = assignment.partition("=")[0]
                changes = [*(change for change in changes if change.partition("=")[0] != key), assignment]
                config, missing = changed, after
                if after <= 0:
                    return changes
    return None


def advice(changes: Sequence[str] | None, needed: int = 0) -> str:
    """What `nearest` found, as a line of text; `needed` is the memory in bytes that the run then needs."""
    if changes is None:
        return "no setting makes it fit; use a smaller model, or lower generation.max_*_tokens"
    return f"it would fit, with {size_text(needed)}, under: {' '.join(changes)}"


def size_text(count: int) -> str:
    """A number of bytes as text."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
