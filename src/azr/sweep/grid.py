"""Which runs a sweep has: settings from `key=value,value`, and seeds from `0-4,7`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

from azr.errors import UserError

LONGEST = 100
"""Characters of a folder's name."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every setting is trained with every seed.

    Attributes:
        source: preset or file.
        settings: assignments by name of the setting; the others are compared with the first.
        seeds: of each setting.
        words: assignments that all runs share.
    """

    source: str
    settings: Mapping[str, Sequence[str]]
    seeds: Sequence[int]
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        folders = {folder_name(setting) for setting in self.settings}
        if len(folders) < len(self.settings):
            raise UserError("two settings have the same name; name each value once")


def parse(sources: Sequence[str], assignments: Sequence[str], seeds: str) -> Sweep:
    """The sweep of a command line; `sources` is the one preset or file.

    Commas separate the values of a key, except within brackets and quotes: `a=1,2` has two values, `a=[1,2]` one.

    Raises:
        UserError: there is not one source, an assignment or the seeds are malformed, or a key is set that a sweep sets
            itself.
    """
    if len(sources) != 1:
        named = f"{len(sources)} were named: {', '.join(sources)}" if sources else "none was named"
        raise UserError(f"azr sweep takes one preset or file, but {named}; try: azr sweep primes")
    words: list[str] = []
    varied: list[list[str]] = []
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        if key in ("seed", "output_dir"):
            raise UserError(f"{assignment}: a sweep sets {key} itself; use {'--seeds' if key == 'seed' else '--out'}")
        found = _values(text)
        if len(found) == 1:
            words.append(assignment)
        elif "" in found:
            raise UserError(f"{assignment}: a value is empty; separate values with single commas")
        else:
            varied.append([f"{key}={value}" for value in found])
    settings = [", ".join(chosen) for chosen in product(*varied)]
    if len(set(settings)) < len(settings):
        raise UserError(f"{' '.join(assignments)}: a value or a key is named twice; name each once")
    choices = zip(settings, product(*varied), strict=True)
    return Sweep(sources[0], dict(choices) if varied else {Path(sources[0]).stem: ()}, parse_seeds(seeds), words)


def parse_seeds(text: str) -> list[int]:
    """Seeds from numbers and ranges, such as `0-4,7`.

    Raises:
        UserError: it is malformed, or a seed is named twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise UserError(f"--seeds {text}: expected numbers and ranges, such as 0-4 or 0,2,7")
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: a seed is named twice; name each once")
    return seeds


def folder_name(setting: str) -> str:
    """The name of a setting's folder. It has no "=", so that paths are not taken for assignments."""
    name = re.sub(r"[^\w.+,-]+", "_", setting.replace(", ", ",").replace("=", "-")).lstrip(".")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{sha256(setting.encode()).hexdigest()[:8]}"


def _values(text: str) -> list[str]:
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{(") - (character in ")}]")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
