"""The algorithms that turn a step's rewards into advantages, one small class each; `algorithm.name` selects one.

Other packages add theirs through the entry-point group `azr.algorithms`. The configuration, `azr explain` and the
report take name, equation and baseline from the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, cast, get_args

import numpy as np

from azr import plugins
from azr.algorithms.advantages import (
    Baseline,
    Estimate,
    Float,
    Float32,
    Group,
    all_together,
    cells,
    gae,
    prompts,
    rewards_of,
    standardise,
    whitened,
)
from azr.errors import UserError
from azr.types import Rollout

if TYPE_CHECKING:
    from azr.config import AlgorithmConfig

GROUP = "azr.algorithms"
Aggregation = Literal["token_mean", "sequence_mean", "constant"]
Rollouts: TypeAlias = Sequence[Rollout]
Values: TypeAlias = Sequence[Float32] | None


class Algorithm(ABC):
    """How a step's rewards become advantages.

    Attributes:
        name: the value of `algorithm.name`.
        equation: of the advantages, in one line.
        aggregation: how token losses are averaged if `algorithm.aggregation` is not set.
        has_critic: whether it needs a critic's values.
    """

    name: ClassVar[str]
    equation: ClassVar[str]
    aggregation: ClassVar[Aggregation] = "token_mean"
    has_critic: ClassVar[bool] = False

    @abstractmethod
    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """Advantages and baseline of each rollout.

        Args:
            rollouts: of one step; their order does not matter.
            config: the settings `algorithm.*`.
            values: the critic's value of the state before each token; None without a critic.
        """


class TRRPlusPlus(Algorithm):
    """Task-relative REINFORCE++: a baseline for each role and kind (Absolute Zero, arXiv 2505.03335, Eq. 8).

    `algorithm.whiten` = "rollout" takes mu and the population's sigma over rollouts, as in the equation. "token"
    takes them over response tokens with Bessel's correction, as in the reference code: long responses weigh more.
    """

    name = "trr++"
    equation = "A = (r - mu_cell) / sigma_cell (Eq. 8)"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout; 0 in a cell whose rewards are all equal."""
        return whitened(rollouts, cells(rollouts), config.whiten)


class ReinforcePlusPlus(Algorithm):
    """REINFORCE++ (arXiv 2501.03262): one baseline for the whole step. `algorithm.whiten` is as for TRR++."""

    name = "reinforce++"
    equation = "A = (r - mu) / sigma"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout; 0 if all rewards are equal."""
        return whitened(rollouts, all_together(rollouts), config.whiten)


class GRPO(Algorithm):
    """Group-relative policy optimization (arXiv 2402.03300): a baseline for each prompt."""

    name = "grpo"
    equation = "A = (r - mu_prompt) / sigma_prompt"
    aggregation = "sequence_mean"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout; 0 if all rewards of its prompt are equal."""
        return whitened(rollouts, prompts(rollouts), "rollout")


class RLOO(Algorithm):
    """REINFORCE leave-one-out (arXiv 2402.14740): each rollout is compared with the mean of its prompt's others."""

    name = "rloo"
    equation = "A = r - mean of the others"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout; 0 for a rollout without others."""

        def others(rewards: Float) -> Float:
            return (rewards.sum() - rewards) / (len(rewards) - 1) if len(rewards) > 1 else rewards

        return differences(rollouts, prompts(rollouts), others)


class DrGRPO(Algorithm):
    """GRPO done right (arXiv 2503.20783): no deviation, and token losses summed over a constant length."""

    name = "dr-grpo"
    equation = "A = r - mu_prompt"
    aggregation = "constant"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout."""
        return differences(rollouts, prompts(rollouts), lambda rewards: np.full_like(rewards, rewards.mean()))


class PPO(Algorithm):
    """Proximal policy optimization (arXiv 1707.06347): a critic, and generalised advantage estimation per token."""

    name = "ppo"
    equation = "A = sum of (gamma lambda)^l delta_{t+l}, whitened"
    has_critic = True

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for each token, whitened over the step's tokens; the reward is that of the last token.

        Raises:
            ValueError: there are no values.
        """
        if values is None:
            raise ValueError("PPO needs a critic's values")
        exact, plain = [values_T.astype(np.float64) for values_T in values], []
        for rollout, values_T in zip(rollouts, exact, strict=True):
            rewards_T = np.zeros(len(values_T))
            rewards_T[-1] = rollout.reward
            plain.append(gae(rewards_T, values_T, discount=config.ppo.discount, gae_lambda=config.ppo.gae_lambda))
        tokens_N = np.concatenate(plain)
        white_N, _, _ = standardise(tokens_N, np.ones(len(tokens_N)), ddof=0)
        white = np.split(white_N, np.cumsum([len(A_T) for A_T in plain])[:-1])
        return [
            Estimate(white_T, Baseline("the critic's values", len(V_T), float(V_T.mean()), None, True), A_T + V_T)
            for white_T, A_T, V_T in zip(white, plain, exact, strict=True)
        ]


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm for algorithm in (TRRPlusPlus(), ReinforcePlusPlus(), GRPO(), RLOO(), DrGRPO(), PPO())
}
"""azr's own algorithms by name."""


def names() -> list[str]:
    """The algorithms of azr, then those of other packages."""
    return [*ALGORITHMS, *(name for name in plugins.names(GROUP) if name not in ALGORITHMS)]


def check_name(name: str) -> None:
    """Check that an algorithm is registered and can be used.

    Raises:
        ValueError: there is none of that name (the nearest is suggested).
        UserError: it cannot be loaded, or is not whole.
    """
    if name in ALGORITHMS:  # entry points take milliseconds to list
        return
    if name not in (known := names()):
        raise ValueError(plugins.unknown(GROUP, name, known))
    plugin(name)


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name.

    Raises:
        UserError: it is not registered, or cannot be loaded.
    """
    return ALGORITHMS[name] if name in ALGORITHMS else plugin(name)


def plugin(name: str) -> Algorithm:
    """The algorithm of this name that another package registers.

    Raises:
        UserError: it is not registered, cannot be loaded, is not whole, or has the name of one of azr's own.
    """
    made, where = plugins.instance(GROUP, name, (Algorithm,))
    found = cast("Algorithm", made)
    if name in ALGORITHMS:
        raise UserError(f"{where} has the name of an algorithm of azr; rename its entry point")
    if getattr(found, "name", None) != name:
        raise UserError(f"{where}.name is {getattr(found, 'name', None)!r}, not the name of its entry point")
    if not isinstance(getattr(found, "equation", None), str):
        raise UserError(f"{where}.equation is not a text")
    if found.aggregation not in get_args(Aggregation):
        raise UserError(f"{where}.aggregation is {found.aggregation!r}, not one of {', '.join(get_args(Aggregation))}")
    return found


def estimates(config: AlgorithmConfig, rollouts: Rollouts, values: Values = None) -> list[Estimate]:
    """Advantages and baseline of each rollout, by the configured algorithm.

    Raises:
        UserError: an algorithm of another package returned something else.
    """
    found = algorithm(config.name).estimate(rollouts, config, values)
    if config.name in ALGORITHMS:
        return found
    where = f"algorithm {config.name}: estimate returned"
    if len(found) != len(rollouts):
        raise UserError(f"{where} {len(found)} estimates for {len(rollouts)} rollouts")
    for rollout, estimate in zip(rollouts, found, strict=True):
        if np.shape(estimate.advantages_T) != (len(rollout.sample.completion_ids),):
            raise UserError(f"{where} advantages of shape {np.shape(estimate.advantages_T)} for {rollout.id}")
        if not np.isfinite(estimate.advantages_T).all():
            raise UserError(f"{where} advantages that are not finite for {rollout.id}")
    return found


def differences(rollouts: Rollouts, groups: Sequence[Group], baseline: Callable[[Float], Float]) -> list[Estimate]:
    """A = r - baseline, where `baseline` maps the rewards of a group to the baseline of each."""
    found: dict[int, Estimate] = {}
    for group in groups:
        rewards = rewards_of(rollouts, group)
        for i, reward, centre in zip(group.members, rewards, baseline(rewards), strict=True):
            about = Baseline(group.name, len(group.members), float(centre), None, False)
            found[i] = Estimate.constant(rollouts[i], reward - centre, about)
    return [found[i] for i in range(len(rollouts))]
