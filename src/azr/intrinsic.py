"""Intrinsic rewards from other packages: the entry-point group `azr.rewards`.

A plug-in is a class that is made without arguments. It derives from `ProposerReward` or `SolverReward` and has one
method. `rewards.plugins.NAME.coefficient` selects it: coefficient * min(value, cap) is added to the reward of Eq. 6.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from azr import plugins
from azr.errors import UserError
from azr.types import Sample, Task, Verdict

GROUP = "azr.rewards"
OWN = ("complexity", "novelty", "diversity", "progress", "thinking")
"""The names of azr's own intrinsic rewards, which a plug-in cannot have."""


class ProposerReward(ABC):
    """An intrinsic reward of accepted proposals."""

    @abstractmethod
    def value(self, task: Task, references: Sequence[Task], scores: Sequence[float]) -> float:
        """The value of a new task; a function of the arguments alone, or a resumed run would differ.

        Args:
            task: the task, including its gold value.
            references: the tasks that the proposer was shown.
            scores: of the attempts at the task, 1 for each that is right, else 0.
        """


class SolverReward(ABC):
    """An intrinsic reward of attempts."""

    @abstractmethod
    def value(self, task: Task, sample: Sample, verdict: Verdict) -> float:
        """The value of an attempt; a function of the arguments alone, or a resumed run would differ.

        Args:
            task: the attempted task, including its gold value.
            sample: what the model wrote.
            verdict: the judgement; the attempt may be wrong or malformed.
        """


Term = ProposerReward | SolverReward


def check_name(name: str) -> None:
    """Check that a reward is registered and can be used.

    Raises:
        ValueError: there is none of that name (the nearest is suggested).
        UserError: see `load`.
    """
    if name not in (known := plugins.names(GROUP)):
        raise ValueError(plugins.unknown(GROUP, name, known))
    load(name)


def load(name: str) -> Term:
    """Make the reward of this name.

    Raises:
        UserError: it is not registered, cannot be made, or has the name of one of azr's own.
    """
    term, where = plugins.instance(GROUP, name, (ProposerReward, SolverReward))
    if name in OWN:
        raise UserError(f"{where} has the name of an intrinsic reward of azr; rename its entry point")
    return cast("Term", term)


def checked(name: str, term: Term, value: object) -> float:
    """The value that a plug-in returned, as a number.

    Raises:
        UserError: it is not a finite number.
    """
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise UserError(f"reward {name}: {type(term).__qualname__}.value returned {value!r:.40}, not a finite number")
