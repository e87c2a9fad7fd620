"""One rollout from text to gradient, from the run's events: the data behind `azr explain`.

There are three accounts of each rollout: `run` has the baseline and the advantage that the run logged, `paper` and
`reference` those that TRR++ would have computed under the two profiles.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from azr.algorithms.advantages import Baseline, Estimate
from azr.algorithms.registry import TRRPlusPlus
from azr.analysis.surrogate import Pass, passes
from azr.config import AlgorithmConfig, Config, RewardConfig
from azr.errors import UserError
from azr.run.directory import EVENTS, RunDirectory
from azr.run.log import Log
from azr.selfplay.rewards import intrinsic_terms, learnability, mean, propose_reward, solve_reward
from azr.types import Role, Rollout, Sample, Verdict

Event = Mapping[str, Any]
Estimates = Mapping[str, tuple[RewardConfig, Mapping[str, Estimate]]]
"""For each profile, its rewards and the estimates by rollout."""


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of one profile.

    Attributes:
        profile: "run", "paper" or "reference".
        role_reward: Eq. 4 or Eq. 5; None if the text was rejected before.
        rule: the line of Eq. 6 that applied, in words.
        terms: the intrinsic rewards by name, times their coefficients.
        reward: the composite reward.
        baseline: None if the run did not log it.
        advantage: mean over tokens.
    """

    profile: str
    role_reward: float | None
    rule: str
    terms: Mapping[str, float]
    reward: float
    baseline: Baseline | None
    advantage: float

    @property
    def intrinsic(self) -> float:
        """Sum of the intrinsic rewards."""
        return sum(self.terms.values())


@dataclass(frozen=True, slots=True)
class Ledger:
    """One rollout, from its text to its gradient.

    Attributes:
        id, step, role, kind: of the rollout.
        text, tokens, finished: the completion, its length, and whether the model ended it.
        rejected, agreed: guesses of an attempt's search that failed the model's own check, and whether this one passed
            it; None without search.
        task: the attempted or the proposed task; None for a rejected proposal.
        verdict: of the checks.
        scores: of the attempts at the proposed task, in [0, 1]; empty for an attempt.
        penalty: subtracted from the reward for the divergence.
        accounts: run, paper, reference.
        recorded: reward and advantage as the run logged them.
        algorithm: of the run.
        passes: each optimizer step, token by token; empty if the run did not log it.
    """

    id: str
    step: int
    role: Role
    kind: str
    text: str
    tokens: int
    finished: bool
    rejected: tuple[str, ...]
    agreed: bool | None
    task: Mapping[str, Any] | None
    verdict: Verdict
    scores: tuple[float, ...]
    penalty: float
    accounts: tuple[Account, ...]
    recorded: Mapping[str, float]
    algorithm: AlgorithmConfig
    passes: tuple[Pass, ...]


def ledger(run: Path, rollout: str) -> Ledger:
    """Recompute the rollout with this id, such as "3/solve/deduction/0002/1", of the run in folder `run`.

    Raises:
        UserError: no such run, or no such rollout in it.
    """
    config = RunDirectory.open(run).config()
    step = rollout.partition("/")[0]
    try:
        of_step = Log(run / EVENTS, containing=f'"step": {step},'.encode()).new()
        facts = Facts([event for _, event in of_step if str(event.get("step")) == step])
        if rollout not in facts.advantages:
            others = Log(run / EVENTS, containing=b'"event": "advantage"').new()
            near = difflib.get_close_matches(rollout, facts.advantages, n=1, cutoff=0.0)
            near = near or [event["id"] for _, event in islice(others, 1)]
            known = f"there is, for example, {near[0]}" if near else "nor was any other yet"
            raise UserError(f"{run}: no rollout {rollout} was learnt from; {known}")
        return _ledger(facts, rollout, config, _estimates(facts, config))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{run / EVENTS}: the events of step {step} are incomplete or were changed ({cause})"
        ) from error


def ledgers(facts: Facts, config: Config) -> dict[str, Ledger]:
    """The ledgers of all rollouts of a step; empty if its events are incomplete."""
    if not facts.rewards or facts.rewards.keys() - facts.advantages.keys():
        return {}
    estimates = _estimates(facts, config)
    return {rollout: _ledger(facts, rollout, config, estimates) for rollout in facts.rewards}


class Facts:
    """The events of one step, by type and by the id that they are about."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.texts = {e["id"]: e for e in events if e["event"] in ("proposal", "attempt")}
        self.verdicts = {
            e["id"]: Verdict(e["well_formed"], e["score"], e["reason"], e["detail"])
            for e in events
            if e["event"] == "verdict"
        }
        self.rewards = {e["id"]: e["reward"] for e in events if e["event"] == "reward"}
        self.advantages = {e["id"]: e for e in events if e["event"] == "advantage"}
        self.proposed = {e["proposal"]: e for e in events if e["event"] == "task"}
        self.tokens = {e["id"]: e for e in events if e["event"] == "tokens"}
        self._answers: dict[str, list[Verdict]] = {}
        for name, verdict in self.verdicts.items():
            self._answers.setdefault(name.rpartition("/")[0], []).append(verdict)

    def scores(self, proposal: str) -> list[float]:
        """Scores of the attempts at a proposal's own task."""
        found = self._answers.get(proposal.replace("/propose/", "/solve/"), [])
        return [verdict.score if verdict.passed else 0.0 for verdict in found]

    def reward(self, name: str, config: RewardConfig) -> tuple[float, dict[str, float]]:
        """The composite reward of Eq. 6 without intrinsic rewards, and these by name."""
        if cell_of(name)[0] == Role.SOLVE:
            terms = intrinsic_terms(self.texts[name].get("intrinsic", {}), config)
            return solve_reward(self.verdicts[name], config), terms
        terms = intrinsic_terms(self.proposed[name]["intrinsic"], config) if name in self.proposed else {}
        return propose_reward(self.verdicts[name], self.scores(name), config), terms

    def rollouts(self, config: RewardConfig) -> list[Rollout]:
        """The rollouts that advantages are estimated from, with rewards by this configuration."""
        rollouts = []
        for name in self.rewards:
            text, (role, kind) = self.texts[name], cell_of(name)
            sample = Sample((), (0,) * text["tokens"], (), text["text"], text["finished"])
            group = name if role == Role.PROPOSE else name.rpartition("/")[0]
            composite, terms = self.reward(name, config)
            reward = composite + sum(terms.values()) - self.advantages[name]["penalty"]
            rollouts.append(Rollout(name, (role, kind), group, sample, self.verdicts[name], reward))
        return rollouts


def cell_of(name: str) -> tuple[Role, str]:
    """Role and kind of a rollout, from its id."""
    _, role, kind, *_ = name.split("/")
    return Role(role), kind


def _estimates(facts: Facts, config: Config) -> Estimates:
    """TRR++ on the step's rollouts, as in the paper and as in the reference code."""
    paper = {"name": "trr++", "whiten": "rollout", "clip_low": 0.2, "clip_high": 0.2}
    reference = {"name": "trr++", "whiten": "token", "clip_low": 0.2, "clip_high": 0.28}
    estimates = {}
    for profile, settings_of in (("paper", paper), ("reference", reference)):
        rewards = config.rewards.model_copy(update={"profile": profile})
        rollouts = facts.rollouts(rewards)
        found = TRRPlusPlus().estimate(rollouts, config.algorithm.model_copy(update=settings_of))
        estimates[profile] = rewards, dict(zip(facts.rewards, found, strict=True))
    return estimates


def _ledger(facts: Facts, name: str, config: Config, estimates: Estimates) -> Ledger:
    text, (role, kind), own = facts.texts[name], cell_of(name), facts.advantages[name]
    baseline = Baseline(**own["baseline"]) if own.get("baseline") else None
    accounts = [_account(facts, name, "run", config.rewards, baseline, own["advantage"])]
    for profile, (rewards, by_rollout) in estimates.items():
        estimate = by_rollout[name]
        advantage = float(estimate.advantages_T.mean())
        accounts.append(_account(facts, name, profile, rewards, estimate.baseline, advantage))
    task = facts.proposed.get(name, {}).get("task") if role == Role.PROPOSE else {"id": text["task"]}
    return Ledger(
        id=name,
        step=text["step"],
        role=role,
        kind=kind,
        text=text["text"],
        tokens=text["tokens"],
        finished=text["finished"],
        rejected=tuple(text.get("rejected", ())),
        agreed=text.get("agreed"),
        task=task,
        verdict=facts.verdicts[name],
        scores=tuple(facts.scores(name)) if role == Role.PROPOSE else (),
        penalty=float(own["penalty"]),
        accounts=tuple(accounts),
        recorded={"reward": facts.rewards[name], "advantage": own["advantage"]},
        algorithm=config.algorithm,
        passes=passes(facts.tokens[name], config.algorithm) if name in facts.tokens else (),
    )


def _account(
    facts: Facts, name: str, profile: str, rewards: RewardConfig, baseline: Baseline | None, advantage: float
) -> Account:
    reward, terms = facts.reward(name, rewards)
    return Account(
        profile=profile,
        role_reward=_role_reward(facts, name),
        rule=_rule(facts, name, rewards),
        terms=terms,
        reward=reward + sum(terms.values()),
        baseline=baseline,
        advantage=advantage,
    )


def _role_reward(facts: Facts, name: str) -> float | None:
    verdict = facts.verdicts[name]
    if cell_of(name)[0] == Role.SOLVE:
        return float(verdict.passed) if verdict.well_formed else None
    return learnability(facts.scores(name)) if verdict.passed else None


def _rule(facts: Facts, name: str, config: RewardConfig) -> str:
    """The line of Eq. 6 that determined the reward."""
    verdict = facts.verdicts[name]
    if cell_of(name)[0] == Role.PROPOSE:
        if not verdict.passed:
            return f"an invalid proposal earns {config.malformed:g}"
        if config.profile == "reference" and mean(facts.scores(name)) in (0.0, 1.0):
            return f"a proposal that none or all solve earns {config.wrong:g}"
        return "an accepted proposal earns its role's reward"
    if not verdict.well_formed:
        return f"a badly formed answer earns {config.malformed:g}"
    if verdict.passed:
        return "a right answer earns its role's reward"
    partly = config.partial_credit and verdict.score > 0
    return "a partly right answer earns its share" if partly else f"a wrong, well formed answer earns {config.wrong:g}"
