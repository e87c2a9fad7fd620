"""A round as text: how its reward follows from the equations, and the record that `--json` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from azr.config import RewardConfig
from azr.domains.base import Domain
from azr.play.game import Round
from azr.selfplay.records import Episode
from azr.selfplay.rewards import intrinsic_reward, mean
from azr.types import Role, Verdict


def proposal_equation(episode: Episode, rewards: RewardConfig) -> str:
    """Explain the reward of a proposal (Eq. 4 within Eq. 6), such as "1 - 3/8 (Eq. 4)"."""
    if episode.attempts is None:
        return "refused (Eq. 6)"
    scores = episode.attempts.scores
    right, n = sum(scores), len(scores)
    if rewards.profile == "reference" and mean(scores) in (0.0, 1.0):
        words = f"{right:g} of {n} right, which the reference code punishes"
    elif not right:
        words = "0, since no attempt is right (Eq. 4)"
    else:
        words = f"1 - {right:g}/{n} (Eq. 4)"
    bonus = intrinsic_reward(episode.intrinsic, rewards)
    return f"{words} {bonus:+.3f} intrinsic" if bonus else words


def attempt_equation(verdict: Verdict) -> str:
    """Explain the reward of an attempt (Eq. 5 within Eq. 6)."""
    if not verdict.well_formed:
        return "badly formed (Eq. 6)"
    return "right (Eq. 5)" if verdict.passed else "well formed, but wrong (Eq. 6)"


def record(played: Round, model: str, rewards: RewardConfig, domain: Domain) -> dict[str, Any]:
    """A round as JSON: proposal, task, attempts with verdicts, and the person's reward."""
    episode, task = played.episode, played.episode.task
    about: dict[str, Any] = {
        "model": model,
        "mode": str(played.role),
        "kind": played.kind,
        "proposal": {"text": episode.sample.text, "verdict": _verdict(episode.proposal.verdict)},
        "task": None if task is None else {"id": task.id, "text": domain.show(task), "answer": domain.gold(task)},
        "attempts": [],
        "reward": played.reward,
    }
    if episode.attempts is not None:
        pairs = zip(episode.attempts.samples, episode.attempts.verdicts, strict=True)
        about["attempts"] = [{"text": sample.text, "verdict": _verdict(verdict)} for sample, verdict in pairs]
    if played.role == Role.PROPOSE:
        about["solve_rate"] = mean(episode.attempts.scores) if episode.attempts else None
        about["intrinsic"] = dict(episode.intrinsic)
        about["equation"] = proposal_equation(episode, rewards)
    else:
        about["refused"] = dict(played.refused)
    return about


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"passed": verdict.passed, **asdict(verdict)}
