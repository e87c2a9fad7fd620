"""What a person sees of a round."""

from __future__ import annotations

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from azr.analysis.text import visible
from azr.config import RewardConfig
from azr.domains.base import Domain
from azr.play.account import attempt_equation, proposal_equation
from azr.play.game import Round
from azr.selfplay.rewards import mean
from azr.types import Role, Verdict

WIDEST = 400
"""The most characters of an attempt that are shown."""


def show(played: Round, rewards: RewardConfig, domain: Domain, console: Console) -> None:
    """Print a finished round. What the model wrote is escaped, so it cannot control the terminal."""
    if played.role == Role.PROPOSE:
        _proposal(played, rewards, domain, console)
    else:
        _answer(played, domain, console)


def task_panel(text: str, title: str) -> Panel:
    """A text in a frame."""
    return Panel(Text(visible(text.strip())), title=title, title_align="left", border_style="cyan")


def _proposal(played: Round, rewards: RewardConfig, domain: Domain, console: Console) -> None:
    episode = played.episode
    if episode.task is None:
        console.print(Text.assemble(("your proposal is invalid: ", "bold red"), _reason(episode.proposal.verdict)))
    else:
        console.print(task_panel(domain.show(episode.task), f"your {played.kind} task, as the sandbox ran it"))
    if episode.attempts is not None:
        console.print(_attempts(played))
        right, n = sum(episode.attempts.scores), len(episode.attempts.scores)
        console.print(Text(f"solve rate  {mean(episode.attempts.scores):.0%} ({right:g} of {n})", style="bold"))
    equation = proposal_equation(episode, rewards)
    console.print(Text(f"reward of the proposal  {played.reward:+.3f}   {equation}", style="bold"))


def _attempts(played: Round) -> Table:
    table = Table("", "the model's attempt", "verdict", show_lines=True, border_style="dim")
    attempts = played.episode.attempts
    assert attempts is not None, "an accepted proposal is attempted"
    for number, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True), start=1):
        text = visible(sample.text.strip())
        shown = text if len(text) <= WIDEST else f"{text[:WIDEST]} ... ({len(text) - WIDEST} more characters)"
        cut = "" if sample.finished else ", cut at the limit"
        table.add_row(str(number), Text(shown), Text(_reason(verdict) + cut, style=_colour(verdict)))
    return table


def _answer(played: Round, domain: Domain, console: Console) -> None:
    episode = played.episode
    assert episode.task is not None, "a round is over once there is a task"
    assert episode.attempts is not None, "and an answer to it"
    (verdict,) = episode.attempts.verdicts
    why = "" if verdict.reason == "wrong" else f": {_reason(verdict)}"
    words = "right" if verdict.passed else f"not right{why}"
    console.print(Text(words, style=f"bold {_colour(verdict)}"))
    console.print(task_panel(domain.show(episode.task), "the whole task"))
    console.print(Text(f"reward of your answer  {played.reward:+.3f}   {attempt_equation(verdict)}", style="bold"))


def _reason(verdict: Verdict) -> str:
    return f"{verdict.reason} ({visible(verdict.detail)})" if verdict.detail else verdict.reason


def _colour(verdict: Verdict) -> str:
    return "green" if verdict.passed else "red"
