"""A finished round: what a person sees of it, how its reward follows from the equations, and its JSON record."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from azr.analysis.text import visible
from azr.config import RewardConfig
from azr.domains.base import Domain
from azr.play.game import Round
from azr.selfplay.records import Attempts, Episode
from azr.selfplay.rewards import intrinsic_reward, mean
from azr.types import Role, Verdict

WIDEST = 400
"""The most characters of an attempt that are shown."""


def show(played: Round, rewards: RewardConfig, domain: Domain, console: Console) -> None:
    """Print a finished round. What the model wrote is escaped, so it cannot control the terminal."""
    episode, attempts = played.episode, played.episode.attempts
    if played.role == Role.PROPOSE:
        if episode.task is None:
            console.print(Text.assemble(("your proposal is invalid: ", "bold red"), _reason(episode.proposal.verdict)))
        else:
            console.print(task_panel(domain.show(episode.task), f"your {played.kind} task, as the sandbox ran it"))
        if attempts is not None:
            console.print(_table(attempts))
            right, n = sum(attempts.scores), len(attempts.scores)
            console.print(Text(f"solve rate  {right / n:.0%} ({right:g} of {n})", style="bold"))
        whose, equation = "the proposal", proposal_equation(episode, rewards)
    else:
        assert episode.task is not None, "a round is over once there is a task"
        assert attempts is not None, "and an answer to it"
        (verdict,) = attempts.verdicts
        why = "" if verdict.reason == "wrong" else f": {_reason(verdict)}"
        console.print(Text("right" if verdict.passed else f"not right{why}", style=f"bold {_colour(verdict)}"))
        console.print(task_panel(domain.show(episode.task), "the whole task"))
        whose, equation = "your answer", attempt_equation(verdict)
    console.print(Text(f"reward of {whose}  {played.reward:+.3f}   {equation}", style="bold"))


def task_panel(text: str, title: str) -> Panel:
    """A text in a frame."""
    return Panel(Text(visible(text.strip())), title=title, title_align="left", border_style="cyan")


def proposal_equation(episode: Episode, rewards: RewardConfig) -> str:
    """Explain the reward of a proposal (Eq. 4 within Eq. 6), such as "1 - 3/8 (Eq. 4)"."""
    if episode.attempts is None:
        return "refused (Eq. 6)"
    scores = episode.attempts.scores
    right, n = sum(scores), len(scores)
    if rewards.profile == "reference" and right in (0, n):
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
    episode, task, attempts = played.episode, played.episode.task, played.episode.attempts
    pairs = zip(attempts.samples, attempts.verdicts, strict=True) if attempts else ()
    about: dict[str, Any] = {
        "model": model,
        "mode": str(played.role),
        "kind": played.kind,
        "proposal": {"text": episode.sample.text, "verdict": _verdict(episode.proposal.verdict)},
        "task": None if task is None else {"id": task.id, "text": domain.show(task), "answer": domain.gold(task)},
        "attempts": [{"text": sample.text, "verdict": _verdict(verdict)} for sample, verdict in pairs],
        "reward": played.reward,
    }
    if played.role == Role.SOLVE:
        return about | {"refused": dict(played.refused)}
    rate = mean(attempts.scores) if attempts else None
    equation = proposal_equation(episode, rewards)
    return about | {"solve_rate": rate, "intrinsic": dict(episode.intrinsic), "equation": equation}


def _table(attempts: Attempts) -> Table:
    table = Table("", "the model's attempt", "verdict", show_lines=True, border_style="dim")
    for number, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True), start=1):
        text = visible(sample.text.strip())
        shown = text if len(text) <= WIDEST else f"{text[:WIDEST]} ... ({len(text) - WIDEST} more characters)"
        cut = "" if sample.finished else ", cut at the limit"
        table.add_row(str(number), Text(shown), Text(_reason(verdict) + cut, style=_colour(verdict)))
    return table


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"passed": verdict.passed, **asdict(verdict)}


def _reason(verdict: Verdict) -> str:
    return f"{verdict.reason} ({visible(verdict.detail)})" if verdict.detail else verdict.reason


def _colour(verdict: Verdict) -> str:
    return "green" if verdict.passed else "red"
