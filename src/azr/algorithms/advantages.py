"""What algorithms are built from: groups of rollouts to compare, whitening, generalised advantage estimation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from azr.types import Rollout

EPSILON = 1e-8
"""Added to every deviation. Eq. 8 of the paper lacks it; the reference implementation adds it to the variance."""

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Whiten: TypeAlias = Literal["rollout", "token"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a rollout's reward was compared with.

    Attributes:
        of: its group in words, such as "the cell (solve, deduction)".
        n: number of rollouts, or of tokens with a critic.
        mean: mu; for rloo the mean of the others; with a critic the mean of its values.
        deviation: sigma; None if the algorithm does not divide by it.
        by_token: whether mean and deviation are over response tokens.
    """

    of: str
    n: int
    mean: float
    deviation: float | None
    by_token: bool


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """The advantages of one rollout.

    Attributes:
        advantages_T: one per completion token.
        baseline: what its reward was compared with.
        returns_T: targets of the critic; None without one.
    """

    advantages_T: Float
    baseline: Baseline
    returns_T: Float | None = None

    @classmethod
    def constant(cls, rollout: Rollout, advantage: float, baseline: Baseline) -> Estimate:
        """The same advantage at every token."""
        return cls(np.full(len(rollout.sample.completion_ids), advantage, np.float64), baseline)


@dataclass(frozen=True, slots=True)
class Group:
    """Rollouts that are compared with each other: their name in words, and their indices."""

    name: str
    members: list[int]


def gae(
    rewards_T: Sequence[float] | Float, values_T: Sequence[float] | Float, *, discount: float, gae_lambda: float
) -> Float:
    """A_t = delta_t + discount gae_lambda A_{t+1}, delta_t = r_t + discount V_{t+1} - V_t, all 0 after the end.

    Generalised advantage estimation (arXiv 1506.02438), for PPO. Returns, which the critic learns, are A + V.

    Args:
        rewards_T: of each completion token.
        values_T: the critic's values of the states before each token.
        discount: gamma.
        gae_lambda: 0 trusts the critic, 1 the rewards.
    """
    advantages_T, after, value_after = np.zeros(len(rewards_T)), 0.0, 0.0
    for t in reversed(range(len(rewards_T))):
        delta = rewards_T[t] + discount * value_after - values_T[t]
        after = advantages_T[t] = delta + discount * gae_lambda * after
        value_after = values_T[t]
    return advantages_T


def whitened(rollouts: Sequence[Rollout], groups: Sequence[Group], whiten: Whiten) -> list[Estimate]:
    """A = (r - mu) / (sigma + eps) within each group.

    Args:
        rollouts: of one step.
        groups: each rollout is in one of them.
        whiten: "rollout": mu and the population's sigma over rollouts; "token": over response tokens, with
            Bessel's correction.
    """
    found: dict[int, Estimate] = {}
    by_token = whiten == "token"
    for group in groups:
        lengths = [len(rollouts[i].sample.completion_ids) if by_token else 1 for i in group.members]
        values, mu, sigma = standardise(rewards_of(rollouts, group), np.array(lengths), ddof=int(by_token))
        baseline = Baseline(group.name, len(group.members), mu, sigma, by_token)
        for i, value in zip(group.members, values, strict=True):
            found[i] = Estimate.constant(rollouts[i], value, baseline)
    return [found[i] for i in range(len(rollouts))]


def standardise(
    values_N: Float, weights_N: npt.NDArray[np.float64 | np.int64], *, ddof: int
) -> tuple[Float, float, float]:
    """(v - mu) / (sigma + eps) with weighted mu and sigma, then mu and sigma; zeros if all values are equal.

    Args:
        values_N: values to standardise.
        weights_N: weight of each value.
        ddof: 0 for the population's deviation, 1 for Bessel's correction on the total weight.
    """
    total = weights_N.sum()
    mu = (weights_N * values_N).sum() / total
    if total <= ddof or np.ptp(values_N) == 0:
        return np.zeros_like(values_N), float(mu), 0.0
    sigma = np.sqrt((weights_N * (values_N - mu) ** 2).sum() / (total - ddof))
    return (values_N - mu) / (sigma + EPSILON), float(mu), float(sigma)


def rewards_of(rollouts: Sequence[Rollout], group: Group) -> Float:
    """Rewards of the members of a group, in their order."""
    return np.array([rollouts[i].reward for i in group.members], dtype=np.float64)


# Groups to compare


def all_together(rollouts: Sequence[Rollout]) -> list[Group]:
    """All rollouts of the step."""
    return [Group("all rollouts of the step", list(range(len(rollouts))))]


def cells(rollouts: Sequence[Rollout]) -> list[Group]:
    """The rollouts of each (role, kind)."""
    found = _groups(rollouts, lambda rollout: rollout.cell)
    return [Group(_cell_name(rollouts[members[0]]), members) for members in found]


def prompts(rollouts: Sequence[Rollout]) -> list[Group]:
    """The rollouts of each prompt; prompts that were sampled once are pooled by cell.

    Each proposal has its own prompt, since references are drawn anew, and its group has one member. Its baseline would
    be its own reward, and the proposer would never learn; so it is compared with its cell.
    """
    groups = _groups(rollouts, lambda rollout: rollout.group)
    single = [members[0] for members in groups if len(members) == 1]
    pools = _groups([rollouts[i] for i in single], lambda rollout: rollout.cell)
    return [Group("its prompt's rollouts", members) for members in groups if len(members) > 1] + [
        Group(f"{_cell_name(rollouts[single[pool[0]]])}, as its prompt was sampled once", [single[i] for i in pool])
        for pool in pools
    ]


def _cell_name(rollout: Rollout) -> str:
    role, kind = rollout.cell
    return f"the cell ({role}, {kind})"


def _groups(rollouts: Sequence[Rollout], key: Callable[[Rollout], Hashable]) -> list[list[int]]:
    """Indices of the rollouts that share a key."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, rollout in enumerate(rollouts):
        members[key(rollout)].append(index)
    return list(members.values())
