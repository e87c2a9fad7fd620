"""One rollout from text to gradient, from the run's events: the data behind `azr explain`.

Three accounts of the same rollouts stand side by side: `run` has the baseline and the advantage that the run wrote
down, `paper` and `reference` are what TRR++ would have made of them under the two profiles.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azr import settings
from azr.algorithms.advantages import Baseline, Estimate
from azr.algorithms.registry import TRRPlusPlus
from azr.analysis.surrogate import Pass, passes
from azr.config import AlgorithmConfig, Config, RewardConfig
from azr.domains import registry
from azr.errors import UserError
from azr.run.directory import EVENTS, RunDirectory, explained
from azr.run.log import parsed
from azr.selfplay.rewards import intrinsic_reward, learnability, mean, propose_reward, solve_reward
from azr.types import Role, Rollout, Sample, Verdict

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """The numbers of one profile.

    Attributes:
        profile: "run", "paper" or "reference".
        role_reward: Eq. 4 or Eq. 5; None where the text never got so far.
        rule: which line of Eq. 6 applied, in words.
        intrinsic: sum of the intrinsic rewards.
        reward: the composite reward.
        baseline: of the run's own profile as it was written down; None where it was not.
        advantage: the mean over tokens.
    """

    profile: str
    role_reward: float | None
    rule: str
    intrinsic: float
    reward: float
    baseline: Baseline | None
    advantage: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that became of one rollout.

    Attributes:
        id, step, role, kind: which one.
        text: what the model wrote; tokens: its length; finished: whether the model ended it itself.
        task: the task that was attempted, or that came of the proposal; None for a rejected proposal.
        verdict: what the checks said.
        scores: of the attempts at the proposed task, in [0, 1]; empty for an attempt.
        penalty: what the divergence took off the reward before advantages.
        accounts: run, paper, reference.
        recorded: reward and advantage as the run wrote them down.
        algorithm: the run's.
        passes: what each optimizer step made of it, token by token; empty where that was not written down.
    """

    id: str
    step: int
    role: Role
    kind: str
    text: str
    tokens: int
    finished: bool
    task: Mapping[str, Any] | None
    verdict: Verdict
    scores: tuple[float, ...]
    penalty: float
    accounts: tuple[Account, ...]
    recorded: Mapping[str, float]
    algorithm: AlgorithmConfig
    passes: tuple[Pass, ...]


def ledger(run: Path, rollout: str) -> Ledger:
    """Recompute one rollout of a run.

    Args:
        run: the run's folder.
        rollout: its id, such as "3/solve/deduction/0002/1".

    Raises:
        UserError: no such run, or no such rollout in it.
    """
    config = settings.build(RunDirectory.open(run).tree(), registry.config_class, source=str(run / "config.toml"))
    step = rollout.partition("/")[0]
    try:
        facts = Facts(list(_events(run / EVENTS, int(step))) if step.isdecimal() else [])
        if rollout not in facts.advantages:
            near = difflib.get_close_matches(rollout, facts.advantages, n=1, cutoff=0.0) or _any(run / EVENTS)
            known = f"there is, for example, {near[0]}" if near else "nor was any other yet"
            raise UserError(f"{run}: no rollout {rollout} was learnt from; {known}")
        return _ledger(facts, rollout, config, _books(facts, config))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{run / EVENTS}: the events of step {step} are not all there, or were changed ({told})"
        ) from error


def ledgers(facts: Facts, config: Config) -> dict[str, Ledger]:
    """The ledgers of all rollouts of a step; none where its events are not all there."""
    if not facts.rewards or facts.rewards.keys() - facts.advantages.keys():
        return {}
    books = _books(facts, config)
    return {rollout: _ledger(facts, rollout, config, books) for rollout in facts.rewards}


class Facts:
    """The events of one step, by what they are about."""

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
        """Of the attempts at a proposal's own task."""
        found = self._answers.get(proposal.replace("/propose/", "/solve/"), [])
        return [verdict.score if verdict.passed else 0.0 for verdict in found]

    def reward(self, name: str, config: RewardConfig) -> tuple[float, float]:
        """The composite reward of Eq. 6 without, and the sum of, intrinsic rewards."""
        if cell_of(name)[0] == Role.SOLVE:
            return solve_reward(self.verdicts[name], config), 0.0
        extra = intrinsic_reward(self.proposed[name]["intrinsic"], config) if name in self.proposed else 0.0
        return propose_reward(self.verdicts[name], self.scores(name), config), extra

    def rollouts(self, config: RewardConfig) -> list[Rollout]:
        """The step's rollouts as they went into the advantages, with rewards by this configuration."""
        return [self._rollout(name, sum(self.reward(name, config)) - self.penalty(name)) for name in self.rewards]

    def penalty(self, name: str) -> float:
        """What the divergence took off a rollout's reward."""
        return float(self.advantages[name]["penalty"])

    def _rollout(self, name: str, reward: float) -> Rollout:
        text = self.texts[name]
        sample = Sample((), (0,) * text["tokens"], (), text["text"], text["finished"])
        role, kind = cell_of(name)
        group = name if role == Role.PROPOSE else name.rpartition("/")[0]
        return Rollout(name, (role, kind), group, sample, self.verdicts[name], reward)


def cell_of(name: str) -> tuple[Role, str]:
    """Role and kind of a rollout, which its id names."""
    _, role, kind, *_ = name.split("/")
    return Role(role), kind


@dataclass(frozen=True, slots=True)
class Book:
    """One profile's rewards, and the advantages that TRR++ would have made of a step's."""

    rewards: RewardConfig
    estimates: Mapping[str, Estimate]


def _books(facts: Facts, config: Config) -> dict[str, Book]:
    books = {}
    for profile, (rewards, algorithm) in _profiles(config).items():
        rollouts = facts.rollouts(rewards)
        estimates = TRRPlusPlus().estimate(rollouts, algorithm)
        books[profile] = Book(rewards, {r.id: estimate for r, estimate in zip(rollouts, estimates, strict=True)})
    return books


def _ledger(facts: Facts, name: str, config: Config, books: Mapping[str, Book]) -> Ledger:
    text, (role, kind) = facts.texts[name], cell_of(name)
    found = passes(facts.tokens[name], config.algorithm) if name in facts.tokens else ()
    accounts = [_account(facts, name, profile, book) for profile, book in books.items()]
    accounts.insert(0, _own_account(facts, name, config.rewards))
    task = facts.proposed.get(name, {}).get("task") if role == Role.PROPOSE else {"id": text["task"]}
    return Ledger(
        id=name,
        step=text["step"],
        role=role,
        kind=kind,
        text=text["text"],
        tokens=text["tokens"],
        finished=text["finished"],
        task=task,
        verdict=facts.verdicts[name],
        scores=tuple(facts.scores(name)) if role == Role.PROPOSE else (),
        penalty=facts.penalty(name),
        accounts=tuple(accounts),
        recorded={"reward": facts.rewards[name], "advantage": facts.advantages[name]["advantage"]},
        algorithm=config.algorithm,
        passes=found,
    )


def _profiles(config: Config) -> dict[str, tuple[RewardConfig, AlgorithmConfig]]:
    """TRR++ as the paper and as the reference code have it."""
    algorithm = config.algorithm
    paper = {"name": "trr++", "whiten": "rollout", "clip_low": 0.2, "clip_high": 0.2}
    reference = {"name": "trr++", "whiten": "token", "clip_low": 0.2, "clip_high": 0.28}
    return {
        "paper": (config.rewards.model_copy(update={"profile": "paper"}), algorithm.model_copy(update=paper)),
        "reference": (
            config.rewards.model_copy(update={"profile": "reference"}),
            algorithm.model_copy(update=reference),
        ),
    }


def _own_account(facts: Facts, name: str, rewards: RewardConfig) -> Account:
    """Advantage and baseline as the run wrote them down."""
    event = facts.advantages[name]
    baseline = Baseline(**event["baseline"]) if event.get("baseline") else None
    return _account_of(facts, name, "run", rewards, baseline, event["advantage"])


def _account(facts: Facts, name: str, profile: str, book: Book) -> Account:
    """Advantage and baseline as a profile would have had them."""
    estimate = book.estimates[name]
    return _account_of(facts, name, profile, book.rewards, estimate.baseline, float(estimate.advantages_T.mean()))


def _account_of(
    facts: Facts, name: str, profile: str, rewards: RewardConfig, baseline: Baseline | None, advantage: float
) -> Account:
    reward, intrinsic = facts.reward(name, rewards)
    return Account(
        profile=profile,
        role_reward=_role_reward(facts, name),
        rule=_rule(facts, name, rewards),
        intrinsic=intrinsic,
        reward=reward + intrinsic,
        baseline=baseline,
        advantage=advantage,
    )


def _role_reward(facts: Facts, name: str) -> float | None:
    verdict = facts.verdicts[name]
    if cell_of(name)[0] == Role.SOLVE:
        return float(verdict.passed) if verdict.well_formed else None
    return learnability(facts.scores(name)) if verdict.passed else None


def _rule(facts: Facts, name: str, config: RewardConfig) -> str:
    """The line of Eq. 6 that decided the reward."""
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


def _events(path: Path, step: int) -> Iterator[Event]:
    """Events of one step; lines of other steps are passed over unread."""
    needle = f'"step": {step},'.encode()
    for line in _lines(path):
        if needle in line and (event := parsed(line)) is not None and event.get("step") == step:
            yield event


def _any(path: Path) -> list[str]:
    """Some rollout's id, to show what one looks like; none before the first step's end."""
    for line in _lines(path):
        if b'"event": "advantage"' in line and (event := parsed(line)) is not None:
            return [str(event.get("id"))]
    return []


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines of a log, none of one that is not there yet."""
    if path.exists():
        with explained(path, remedy="make it readable"), path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
