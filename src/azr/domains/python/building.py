"""Proposals that build on programs of the buffer, instead of inventing one.

composite    the proposal calls the program g of a reference: f(g(x)), as in the paper
extended     the proposal writes lines that are inserted before the `return` of a reference's program
joined       the program is that of two references, one after the other; the proposal writes an input for it
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from azr.domains.python import syntax
from azr.domains.python.config import PythonConfig
from azr.types import ABDUCTION, DEDUCTION, Kind, Task

Way = Literal["composite", "extended", "joined"]


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a proposal has to build on.

    Attributes:
        way: how.
        program: the helper g, the program to extend, or the two programs as one.
        parents: the tasks whose programs it comes from.
    """

    way: Way
    program: str
    parents: tuple[Task, ...]


def build(way: Way, foundation: str, written: str) -> str:
    """The task's program, from the foundation's and from the text that the proposer wrote."""
    match way:
        case "composite":
            return f"{foundation}\n\n{written}"
        case "extended":
            return syntax.extended(foundation, written) or written
        case "joined":
            return foundation


def draw_foundation(
    config: PythonConfig, kind: Kind, references: Sequence[Task], rng: np.random.Generator
) -> Foundation | None:
    """Decide whether a proposal builds on a reference, and on which; None if it is to invent a program.

    Also None if no reference can be built on in the way that was drawn.
    """
    if kind not in (DEDUCTION, ABDUCTION):
        return None
    composite, extend, join = _shares(config, references)
    drawn = rng.random()
    if (drawn := drawn - composite) < 0:
        return _first("composite", ((syntax.helper_of(task.data["program"]), (task,)) for task in references))
    if (drawn := drawn - extend) < 0:
        programs = ((task.data["program"], (task,)) for task in references)
        return _first("extended", (found for found in programs if syntax.extended(found[0], "pass") is not None))
    if drawn - join < 0:
        pairs = ((one, other) for one in references for other in references if one is not other)
        return _first("joined", ((syntax.joined(*(task.data["program"] for task in pair)), pair) for pair in pairs))
    return None


def _shares(config: PythonConfig, references: Sequence[Task]) -> tuple[float, float, float]:
    """Shares of the three ways, at the step in which the newest reference was accepted."""
    shares = config.composite_share, config.extend_share, config.join_share
    built, half_life = sum(shares), config.invented_half_life
    if half_life is None or built == 0:
        return shares
    invented = (1 - built) * 0.5 ** (max((task.born for task in references), default=0) / half_life)
    composite, extend, join = (share / built * (1 - invented) for share in shares)
    return composite, extend, join


def _first(way: Way, found: Iterable[tuple[str | None, tuple[Task, ...]]]) -> Foundation | None:
    return next((Foundation(way, program, parents) for program, parents in found if program is not None), None)
