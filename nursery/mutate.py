"""Near misses: programs a little beside the right one, for attempts that try, check and mend."""

from __future__ import annotations

import random
import re

_SWAPS = {
    " + ": " - ",
    " - ": " + ",
    " > ": " < ",
    " < ": " > ",
    "max(": "min(",
    "min(": "max(",
    " += ": " -= ",
    " -= ": " += ",
}
_SPOT = re.compile(r"(?<![\w.])\d+| [+\-<>] | [+\-]= |max\(|min\(")


def altered_program(program: str, rng: random.Random) -> str:
    """A program with one number or operator changed; itself where it has none."""
    spots = list(_SPOT.finditer(program))
    if not spots:
        return program
    spot = rng.choice(spots)
    text = spot.group()
    other = _SWAPS.get(text) or str(max(0, int(text) + rng.choice((-2, -1, 1, 2))))
    return program[: spot.start()] + other + program[spot.end() :]
