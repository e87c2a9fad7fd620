"""Advantages on one screen: TRR++ (Eq. 8) and its siblings, each beside its equation; `algorithm.name` picks one.

With rewards r of a step's rollouts:

    trr++        A = (r - mu_cell) / sigma_cell        cell: the rollouts of one role and one kind
    reinforce++  A = (r - mu) / sigma                  over all rollouts of the step
    grpo         A = (r - mu_group) / sigma_group      group: the rollouts of one prompt
    rloo         A = r - mean of the group's others
    dr-grpo      A = r - mu_group
    ppo          A = sum of (gamma lambda)^l delta_{t+l}, whitened

PPO alone needs more than rewards, the values of a critic, and gives every token an advantage of its own.
The learner knows no algorithm: it gets one advantage per sampled token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from azr.types import Rollout

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig

EPSILON = 1e-8
"""Added to every deviation. The paper's Eq. 8 has none; the reference implementation adds it to the variance."""

Float = npt.NDArray[np.float64]
Advantages: TypeAlias = list[tuple[float, ...]]
"""For each rollout, one advantage per completion token."""
Whiten: TypeAlias = Literal["rollout", "token"]


def advantages(rollouts: Sequence[Rollout], config: AlgorithmConfig) -> Advantages:
    """The advantages of one step's rollouts under the configured algorithm.

    Args:
        rollouts: in any order; the order changes no advantage. Their rewards are what is compared.
        config: which algorithm, and its whitening where it has any.
    """
    return ALGORITHMS[config.name](rollouts, config)


def trr_plus_plus(rollouts: Sequence[Rollout], *, whiten: Whiten) -> Advantages:
    """A = (r - mu_cell) / (sigma_cell + eps), for the cell (role, kind) of each rollout (Eq. 8).

    Args:
        rollouts: of one step.
        whiten: "rollout" takes mu and the population sigma over rollouts, as the equation has it. "token" takes them
            over response tokens with Bessel's correction, as the reference implementation does: there, a long response
            weighs more in the baseline.

    Returns:
        one number for all tokens of a rollout. A cell without variance gives zeros.
    """
    return _spread(rollouts, _whitened(rollouts, cells(rollouts), whiten))


def reinforce_plus_plus(rollouts: Sequence[Rollout], *, whiten: Whiten) -> Advantages:
    """A = (r - mu) / (sigma + eps) with one baseline for the whole step (REINFORCE++, arXiv 2501.03262)."""
    return _spread(rollouts, _whitened(rollouts, [list(range(len(rollouts)))], whiten))


def grpo(rollouts: Sequence[Rollout]) -> Advantages:
    """A = (r - mu_group) / (sigma_group + eps) among the rollouts of one prompt (GRPO, arXiv 2402.03300)."""
    return _spread(rollouts, _whitened(rollouts, prompt_groups(rollouts), "rollout"))


def rloo(rollouts: Sequence[Rollout]) -> Advantages:
    """A_i = r_i - sum over j != i of r_j / (n - 1): leave one out (RLOO, arXiv 2402.14740); 0 where n = 1."""
    rewards, result = _rewards(rollouts), np.zeros(len(rollouts))
    for members in prompt_groups(rollouts):
        if (n := len(members)) > 1:
            others = (rewards[members].sum() - rewards[members]) / (n - 1)
            result[members] = rewards[members] - others
    return _spread(rollouts, result)


def dr_grpo(rollouts: Sequence[Rollout]) -> Advantages:
    """A = r - mu_group, not divided by any deviation (Dr. GRPO, arXiv 2503.20783).

    Its other half, a sum over tokens by a constant length, is `algorithm.aggregation`, "constant" for this algorithm
    unless it is set otherwise.
    """
    rewards, result = _rewards(rollouts), np.zeros(len(rollouts))
    for members in prompt_groups(rollouts):
        result[members] = rewards[members] - rewards[members].mean()
    return _spread(rollouts, result)


def ppo(
    rollouts: Sequence[Rollout], values: Sequence[npt.NDArray[np.float32]], *, discount: float, gae_lambda: float
) -> tuple[Advantages, Advantages]:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, whitened over the step's tokens (PPO, arXiv 1707.06347).

    The reward stands at a rollout's last token; there is none before.

    Args:
        rollouts: of one step.
        values: the critic's, of the state in which each token was drawn.
        discount: gamma.
        gae_lambda: see `gae`.

    Returns:
        the advantages, and the returns that the critic learns, which are not whitened.
    """
    exact = [np.asarray(values_T, np.float64) for values_T in values]
    plain = [
        gae(_at_the_end(rollout), values_T, discount=discount, gae_lambda=gae_lambda)
        for rollout, values_T in zip(rollouts, exact, strict=True)
    ]
    returns = [tuple((A_T + values_T).tolist()) for A_T, values_T in zip(plain, exact, strict=True)]
    tokens_N = np.concatenate(plain)
    white_N = standardise(tokens_N, np.ones(len(tokens_N)), ddof=0)
    parts = np.split(white_N, np.cumsum([len(A_T) for A_T in plain])[:-1])
    return [tuple(A_T.tolist()) for A_T in parts], returns


def _at_the_end(rollout: Rollout) -> Float:
    rewards_T = np.zeros(len(rollout.sample.completion_ids))
    rewards_T[-1] = rollout.reward
    return rewards_T


def gae(
    rewards_T: Sequence[float] | Float, values_T: Sequence[float] | Float, *, discount: float, gae_lambda: float
) -> Float:
    """A_t = delta_t + discount gae_lambda A_{t+1}, delta_t = r_t + discount V_{t+1} - V_t, and nothing after the end.

    Generalised advantage estimation (arXiv 1506.02438), for PPO. Returns, which the critic learns, are A + V.

    Args:
        rewards_T: of each completion token.
        values_T: the critic's, of the states in which the tokens were drawn.
        discount: gamma.
        gae_lambda: 0 trusts the critic, 1 the rewards.
    """
    advantages_T, after, value_after = np.zeros(len(rewards_T)), 0.0, 0.0
    for t in reversed(range(len(rewards_T))):
        delta = rewards_T[t] + discount * value_after - values_T[t]
        after = advantages_T[t] = delta + discount * gae_lambda * after
        value_after = values_T[t]
    return advantages_T


ALGORITHMS: dict[str, Callable[[Sequence[Rollout], AlgorithmConfig], Advantages]] = {
    "trr++": lambda rollouts, config: trr_plus_plus(rollouts, whiten=config.whiten),
    "reinforce++": lambda rollouts, config: reinforce_plus_plus(rollouts, whiten=config.whiten),
    "grpo": lambda rollouts, config: grpo(rollouts),
    "rloo": lambda rollouts, config: rloo(rollouts),
    "dr-grpo": lambda rollouts, config: dr_grpo(rollouts),
}


# What is compared with what


def cells(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Indices of the rollouts of each (role, kind)."""
    return _groups(rollouts, lambda rollout: rollout.cell)


def prompt_groups(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Indices of the rollouts of each prompt; prompts that were sampled once are pooled by cell.

    Every proposal has a prompt of its own, since references are drawn anew. A group of one has no baseline but itself,
    so that the proposer would never learn; its cell is the nearest set of rollouts that it can be compared with.
    """
    groups = _groups(rollouts, lambda rollout: rollout.group)
    single = [members[0] for members in groups if len(members) == 1]
    pools = _groups([rollouts[i] for i in single], lambda rollout: rollout.cell)
    return [members for members in groups if len(members) > 1] + [[single[i] for i in pool] for pool in pools]


def standardise(rewards: Float, weights: Float, *, ddof: int) -> Float:
    """(r - mu) / (sigma + eps) with mu and sigma weighted; zeros where all rewards are equal.

    Args:
        rewards: shape (N,).
        weights: shape (N,); how often each reward counts.
        ddof: 0 for the population's deviation, 1 for Bessel's correction on the total weight.
    """
    total = weights.sum()
    if total <= ddof or np.ptp(rewards) == 0:
        return np.zeros_like(rewards)
    mu = (weights * rewards).sum() / total
    sigma = np.sqrt((weights * (rewards - mu) ** 2).sum() / (total - ddof))
    result: Float = (rewards - mu) / (sigma + EPSILON)
    return result


def _whitened(rollouts: Sequence[Rollout], groups: Sequence[list[int]], whiten: Whiten) -> Float:
    rewards, result = _rewards(rollouts), np.zeros(len(rollouts))
    lengths = np.array([len(rollout.sample.completion_ids) for rollout in rollouts])
    for members in groups:
        if whiten == "rollout":
            result[members] = standardise(rewards[members], np.ones(len(members)), ddof=0)
        else:
            result[members] = standardise(rewards[members], lengths[members], ddof=1)
    return result


def _rewards(rollouts: Sequence[Rollout]) -> Float:
    return np.array([rollout.reward for rollout in rollouts], dtype=np.float64)


def _spread(rollouts: Sequence[Rollout], per_rollout: Float) -> Advantages:
    """The same number at every token of a rollout."""
    pairs = zip(rollouts, per_rollout, strict=True)
    return [(float(advantage),) * len(rollout.sample.completion_ids) for rollout, advantage in pairs]


def _groups(rollouts: Sequence[Rollout], key: Callable[[Rollout], Hashable]) -> list[list[int]]:
    """Indices of the rollouts that share a key."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, rollout in enumerate(rollouts):
        members[key(rollout)].append(index)
    return list(members.values())
