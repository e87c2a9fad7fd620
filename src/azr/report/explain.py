"""`azr explain RUN ROLLOUT`: a rollout's ledger on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from azr.algorithms.registry import ALGORITHMS
from azr.analysis.ledger import Account, Ledger
from azr.analysis.surrogate import Pass, cut
from azr.analysis.text import visible
from azr.errors import UserError
from azr.selfplay.rewards import mean
from azr.types import Role

Row = tuple[str, str, str]
"""Name, value, and the equation or rule behind it."""


def show(ledger: Ledger, console: Console, *, tokens: int, decode: Callable[[int], str]) -> None:
    """Print a ledger.

    Args:
        ledger: of `azr.analysis.ledger.ledger`.
        console: where to.
        tokens: how many tokens of each pass are listed, those with the largest push first.
        decode: text of one token.
    """
    console.print(Text(f"{ledger.id}: {ledger.role} {ledger.kind}, step {ledger.step}", style="bold"))
    console.print(Text(visible(ledger.text)), soft_wrap=True)
    console.print(_table(rows(ledger)))
    if (differing := differences(ledger)) is not None:
        console.print(differing)
    console.print(*_passes(ledger, tokens, decode), sep="\n")


def rows(ledger: Ledger) -> Iterator[Row]:
    """The run's own account, from the text to the advantage."""
    account, verdict = ledger.accounts[0], ledger.verdict
    end = "ended by the model" if ledger.finished else "cut at the token limit"
    yield "tokens", str(ledger.tokens), end
    yield "format", "well formed" if verdict.well_formed else "badly formed", "as the prompt asked"
    yield "verdict", verdict.reason, verdict.detail
    if ledger.task is not None:
        yield "task", str(ledger.task["id"]), ""
    yield from _reward_rows(ledger, account)
    if account.baseline is not None:
        base, unit = account.baseline, "response tokens" if account.baseline.by_token else "rollouts"
        deviation = "" if base.deviation is None else f", deviation {base.deviation:.4f}"
        yield "baseline", f"mean {base.mean:.4f}{deviation}", f"{base.of}: n = {base.n}, over {unit}"
    yield "advantage", f"{ledger.recorded['advantage']:+.4f}", ALGORITHMS[ledger.algorithm.name].equation


def differences(ledger: Ledger) -> Table | None:
    """`paper` beside `reference`, line by line where they differ; None where they agree."""
    lines = differing(ledger)
    if not lines:
        return None
    table = Table("", "paper", "reference", title="where the profiles differ", title_justify="left", box=None)
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def differing(ledger: Ledger) -> list[Row]:
    """What `paper` and `reference` make of it, where that is not the same: name, paper, reference."""
    paper, reference = (_profile(ledger, name) for name in ("paper", "reference"))
    return [(name, mine, theirs) for (name, mine), (_, theirs) in zip(paper, reference, strict=True) if mine != theirs]


def token_rows(seen: Pass, count: int, decode: Callable[[int], str]) -> Iterator[tuple[str, ...]]:
    """The tokens that the step pushed most, as written: t, token, log pi, ratio, advantage, push."""
    for t in sorted(sorted(range(len(seen.ids)), key=lambda t: -abs(seen.push[t]))[:count]):
        push = "cut" if seen.cut[t] else f"{seen.push[t]:+.3g}"
        numbers = f"{seen.sampler[t]:.3f}", f"{seen.ratio[t]:.5f}", f"{seen.advantages[t]:+.4f}", push
        yield str(t), decode(int(seen.ids[t])), *numbers


def token_decoder(run: Path) -> Callable[[int], str]:
    """Text of a token, by the tokenizer of the run's model or newest checkpoint; its number where there is none.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    from tokenizers import Tokenizer

    files = [run / "model" / "tokenizer.json", *sorted(run.glob("checkpoints/*/model/tokenizer.json"), reverse=True)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        return "#{}".format
    try:
        tokenizer = Tokenizer.from_file(str(found))
    except Exception as error:  # the library's only one
        raise UserError(f"{found}: no tokenizer: {error}; it was changed, restore it") from None
    return lambda token: repr(tokenizer.decode([token], skip_special_tokens=False))


def _reward_rows(ledger: Ledger, account: Account) -> Iterator[Row]:
    if ledger.role == Role.PROPOSE and ledger.scores:
        solved = f"{sum(ledger.scores):g} of {len(ledger.scores)} attempts right"
        yield "solve rate", f"{mean(ledger.scores):.4f}", solved
    if account.role_reward is not None:
        equation = (
            "1 - solve rate, 0 where none is right (Eq. 4)" if ledger.role == Role.PROPOSE else "1 if right (Eq. 5)"
        )
        yield "role reward", f"{account.role_reward:.4f}", equation
    if account.intrinsic:
        yield "intrinsic", f"{account.intrinsic:+.4f}", "complexity, novelty, diversity"
    yield "reward", f"{account.reward:.4f}", f"{account.rule} (Eq. 6)"
    if ledger.penalty:
        coefficient, estimator = ledger.algorithm.kl_coefficient, ledger.algorithm.kl_estimator
        yield "divergence", f"{-ledger.penalty:+.4f}", f"- {coefficient:g} x {estimator} summed over tokens"


def _profile(ledger: Ledger, name: str) -> Iterator[tuple[str, str]]:
    """What one of the profiles would have made of it."""
    account = next(account for account in ledger.accounts if account.profile == name)
    yield "rule", account.rule
    yield "reward", f"{account.reward:.4f}"
    if account.baseline is not None and account.baseline.deviation is not None:
        yield "mean", f"{account.baseline.mean:.4f}"
        yield "deviation", f"{account.baseline.deviation:.4f}"
    yield "advantage", f"{account.advantage:+.4f}"
    high = 0.28 if name == "reference" else 0.2
    for number, seen in enumerate(ledger.passes, start=1):
        share = cut(seen.ratio, seen.advantages, low=0.2, high=high, dual=None).mean()
        yield f"clipped in pass {number}", f"{share:.1%}"


def _passes(ledger: Ledger, tokens: int, decode: Callable[[int], str]) -> Iterator[RenderableType]:
    if not ledger.passes:
        yield Text("no record of its tokens: events.tokens_every leaves this step out")
    for number, seen in enumerate(ledger.passes, start=1):
        about = (
            f"pass {number} of {len(ledger.passes)}: ratio {seen.ratio.min():.4f} to {seen.ratio.max():.4f}, clipped"
            f" {seen.clip_share:.1%}, weight {seen.weight:.3g} a token, push {seen.push.sum():+.3g} in all"
        )
        yield Group(Text(about), _tokens(seen, tokens, decode)) if tokens else Text(about)


def _tokens(seen: Pass, count: int, decode: Callable[[int], str]) -> Table:
    table = Table("t", "token", "log pi", "ratio", "advantage", "push", box=None, header_style="dim")
    for row in token_rows(seen, count, decode):
        table.add_row(*map(Text, row))
    return table


def _table(lines: Iterator[Row] | Sequence[Row]) -> Table:
    table = Table(box=None, show_header=False)
    for name, value, why in lines:
        table.add_row(Text(name, style="dim"), Text(visible(value)), Text(visible(why), style="dim"))
    return table
