"""Rewards: learnability (Eq. 4), correctness (Eq. 5), and the composite with the format (Eq. 6).

The profiles `paper` and `reference` differ in the reward of a valid proposal that no attempt, or every attempt, solves.
"""

from collections.abc import Mapping, Sequence

from azr.config import RewardConfig
from azr.intrinsic import OWN
from azr.types import Verdict


def learnability(scores: Sequence[float]) -> float:
    """1 - r_bar if some attempt succeeds, else 0 (Eq. 4), where r_bar is the mean score of n attempts at the task.

    Args:
        scores: of the attempts, in [0, 1]; not the composite rewards, which can be negative.

    Raises:
        ValueError: there are no attempts, so the solve rate is unknown.
    """
    solve_rate = mean(scores)
    return 0.0 if solve_rate == 0 else 1.0 - solve_rate


def propose_reward(verdict: Verdict, scores: Sequence[float], config: RewardConfig) -> float:
    """The proposer's composite reward (Eq. 4 within Eq. 6), without intrinsic rewards.

    Args:
        verdict: of the proposal; if it was rejected, the reward is `config.malformed`.
        scores: of the attempts at the task, in [0, 1]; unused for a rejected proposal.
        config: profile and penalties.
    """
    if not verdict.passed:
        return config.malformed
    if config.profile == "reference" and mean(scores) in (0.0, 1.0):
        return config.wrong
    return learnability(scores)


def solve_reward(verdict: Verdict, config: RewardConfig) -> float:
    """The solver's composite reward: the score (1, or the share that is right), else a penalty (Eq. 5 within Eq. 6)."""
    if not verdict.well_formed:
        return config.malformed
    if verdict.passed or (config.partial_credit and verdict.score > 0):
        return verdict.score
    return config.wrong


def intrinsic_terms(values: Mapping[str, float], config: RewardConfig) -> dict[str, float]:
    """The intrinsic rewards whose coefficient is not 0, by name: coefficient * min(value, cap).

    Args:
        values: of an accepted proposal, complexity, novelty, diversity and, if rewarded, progress and thinking; of
            either role, the plug-ins' for that role.
        config: coefficients and caps.
    """
    own = {name: getattr(config, name) for name in OWN}
    terms = (own | config.plugins).items()
    return {
        name: one.coefficient * min(values[name], one.cap) for name, one in terms if one.coefficient and name in values
    }


def intrinsic_reward(values: Mapping[str, float], config: RewardConfig) -> float:
    """The sum of `intrinsic_terms`."""
    return sum(intrinsic_terms(values, config).values())


def mean(scores: Sequence[float]) -> float:
    """The solve rate r_bar.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("no attempts: the solve rate of this task is unknown")
    return sum(scores) / len(scores)
