"""Plug-ins for azr in one file: an algorithm and two intrinsic rewards."""

from collections.abc import Sequence

import numpy as np

from azr.algorithms.advantages import Estimate, Group
from azr.algorithms.registry import Algorithm, Rollouts, Values, differences
from azr.config import AlgorithmConfig
from azr.intrinsic import ProposerReward, SolverReward
from azr.types import Sample, Task, Verdict


class RoleBaseline(Algorithm):
    """REINFORCE with one baseline per role: the mean reward of the step's proposals, and that of its attempts."""

    name = "role-baseline"
    equation = "A = r - mu_role"

    def estimate(self, rollouts: Rollouts, config: AlgorithmConfig, values: Values = None) -> list[Estimate]:
        """One number for all tokens of a rollout; 0 in a role whose rewards are all equal."""
        roles = sorted({rollout.cell[0] for rollout in rollouts})
        groups = [
            Group(f"the role {role}", [i for i, rollout in enumerate(rollouts) if rollout.cell[0] == role])
            for role in roles
        ]
        return differences(rollouts, groups, lambda rewards: np.full_like(rewards, rewards.mean()))


class Brevity(SolverReward):
    """1 / number of tokens of a correct attempt, else 0."""

    def value(self, task: Task, sample: Sample, verdict: Verdict) -> float:
        """A short correct answer earns more than a long one."""
        return 1 / (sample.tokens or 1) if verdict.passed else 0.0


class Frontier(ProposerReward):
    """4 p (1 - p) for a solve rate p: 1 if half of the attempts are right, 0 if all or none are."""

    def value(self, task: Task, references: Sequence[Task], scores: Sequence[float]) -> float:
        """A task at the edge of what the solver can do earns most."""
        solve_rate = sum(scores) / len(scores)
        return 4 * solve_rate * (1 - solve_rate)
