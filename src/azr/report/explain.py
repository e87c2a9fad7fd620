"""Ledgers for people: `azr explain RUN ROLLOUT` on the terminal, and those of whole steps on the page."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from azr.algorithms.registry import algorithm
from azr.analysis.archive import pack
from azr.analysis.ledger import Account, Facts, Ledger, ledgers
from azr.analysis.surrogate import Pass, cut
from azr.analysis.text import visible
from azr.config import Config
from azr.errors import UserError
from azr.run.directory import EVENTS, RunDirectory
from azr.run.log import Log
from azr.selfplay.rewards import mean
from azr.types import Role

STEPS = 16
"""Steps of the page with ledgers, spread over the run. Each takes as long as reading twenty thousand events."""
TOKENS = 8
"""Tokens that the page lists of each pass, those with the largest push."""

Row = tuple[str, str, str]
"""Name, value, and the equation or rule."""


def show(ledger: Ledger, console: Console, *, tokens: int, decode: Callable[[int], str]) -> None:
    """Print a ledger, and of each pass the `tokens` tokens with the largest push, as `decode` writes them."""
    console.print(Text(f"{ledger.id}: {ledger.role} {ledger.kind}, step {ledger.step}", style="bold"))
    console.print(Text(visible(ledger.text)), soft_wrap=True)
    account = Table(box=None, show_header=False)
    for name, value, why in rows(ledger):
        account.add_row(Text(name, style="dim"), Text(visible(value)), Text(visible(why), style="dim"))
    console.print(account)
    if lines := differing(ledger):
        table = Table("", "paper", "reference", title="where the profiles differ", title_justify="left", box=None)
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)
    console.print(*_passes(ledger, tokens, decode), sep="\n")


def rows(ledger: Ledger) -> Iterator[Row]:
    """The run's account, from the text to the advantage."""
    account, verdict = ledger.accounts[0], ledger.verdict
    end = "ended by the model" if ledger.finished else "cut at the token limit"
    yield "tokens", str(ledger.tokens), end
    if ledger.agreed is not None:
        check = "passed the model's own check" if ledger.agreed else "the last guess, which is not checked"
        yield "guess", str(1 + len(ledger.rejected)), check
    yield "format", "well formed" if verdict.well_formed else "badly formed", "as the prompt asked"
    yield "verdict", verdict.reason, verdict.detail
    if ledger.task is not None:
        yield "task", str(ledger.task["id"]), ""
    yield from _reward_rows(ledger, account)
    if account.baseline is not None:
        base, unit = account.baseline, "response tokens" if account.baseline.by_token else "rollouts"
        deviation = "" if base.deviation is None else f", deviation {base.deviation:.4f}"
        yield "baseline", f"mean {base.mean:.4f}{deviation}", f"{base.of}: n = {base.n}, over {unit}"
    yield "advantage", f"{ledger.recorded['advantage']:+.4f}", algorithm(ledger.algorithm.name).equation


def differing(ledger: Ledger) -> list[Row]:
    """The numbers that differ between the two profiles: name, `paper`, `reference`."""
    paper, reference = (_profile(ledger, name) for name in ("paper", "reference"))
    return [(name, mine, theirs) for (name, mine), (_, theirs) in zip(paper, reference, strict=True) if mine != theirs]


def token_rows(seen: Pass, count: int, decode: Callable[[int], str]) -> Iterator[tuple[str, ...]]:
    """The `count` tokens with the largest push, in order: t, token, log pi, ratio, advantage, push."""
    for t in sorted(sorted(range(len(seen.ids)), key=lambda t: -abs(seen.push[t]))[:count]):
        push = "cut" if seen.cut[t] else f"{seen.push[t]:+.3g}"
        numbers = f"{seen.sampler[t]:.3f}", f"{seen.ratio[t]:.5f}", f"{seen.advantages[t]:+.4f}", push
        yield str(t), decode(int(seen.ids[t])), *numbers


def token_decoder(run: Path) -> Callable[[int], str]:
    """Decode a token with the tokenizer of the run's model or newest checkpoint; without one, give its number.

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
    except Exception as error:  # the only type that the library raises
        raise UserError(f"{found}: not a tokenizer: {error}; it was changed, restore it") from None
    return lambda token: repr(tokenizer.decode([token], skip_special_tokens=False))


def _reward_rows(ledger: Ledger, account: Account) -> Iterator[Row]:
    if ledger.role == Role.PROPOSE and ledger.scores:
        solved = f"{sum(ledger.scores):g} of {len(ledger.scores)} attempts right"
        yield "solve rate", f"{mean(ledger.scores):.4f}", solved
    if account.role_reward is not None:
        equation = "1 - solve rate, 0 if none is right (Eq. 4)" if ledger.role == Role.PROPOSE else "1 if right (Eq. 5)"
        yield "role reward", f"{account.role_reward:.4f}", equation
    if account.intrinsic:
        yield "intrinsic", f"{account.intrinsic:+.4f}", ", ".join(f"{n} {x:+.4f}" for n, x in account.terms.items())
    yield "reward", f"{account.reward:.4f}", f"{account.rule} (Eq. 6)"
    if ledger.penalty:
        coefficient, estimator = ledger.algorithm.kl_coefficient, ledger.algorithm.kl_estimator
        yield "divergence", f"{-ledger.penalty:+.4f}", f"- {coefficient:g} x {estimator} summed over tokens"


def _profile(ledger: Ledger, name: str) -> Iterator[tuple[str, str]]:
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
        ratio, clipped, weight, push = _about(seen)
        about = Text(
            f"pass {number} of {len(ledger.passes)}: ratio {ratio}, clipped {clipped}, weight per token {weight},"
            f" total push {push}"
        )
        table = Table("t", "token", "log pi", "ratio", "advantage", "push", box=None, header_style="dim")
        for row in token_rows(seen, tokens, decode):
            table.add_row(*map(Text, row))
        yield Group(about, table) if tokens else about


def _about(seen: Pass) -> tuple[str, str, str, str]:
    """Range of the ratio, share of clipped tokens, weight per token, total push."""
    ratio = f"{seen.ratio.min():.4f} to {seen.ratio.max():.4f}"
    return ratio, f"{seen.cut.mean():.1%}", f"{seen.weight:.3g}", f"{seen.push.sum():+.3g}"


def ledger_blocks(run: Path, offsets: Mapping[int, int], budget: int) -> tuple[dict[int, str], list[str]]:
    """Ledgers by step as `azr.analysis.archive` blocks, and notes on what is left out.

    A block is an object from rollout to [rows, differences, passes]. `offsets` are the bytes at which each step starts
    in events.jsonl, and `budget` is the number of characters of base64 in all.
    """
    steps = sorted(step for step in offsets if step > 0)
    try:
        config = RunDirectory.open(run).config()
        decode = token_decoder(run)
    except UserError as error:
        return {}, [f"no ledgers: {error}"]
    blocks = dict[int, str]()
    for step in spread(steps, STEPS):
        end = min((offset for offset in offsets.values() if offset > offsets[step]), default=inf)
        events = []
        for at, event in Log(run / EVENTS, offset=offsets[step]).new():
            if at >= end:
                break
            if event.get("step") == step:
                events.append(event)
        if found := _of_step(events, config, decode):
            blocks[step] = base64.b64encode(pack(found)).decode("ascii")
    while blocks and sum(map(len, blocks.values())) > budget:
        blocks = {step: blocks[step] for step in spread(sorted(blocks), len(blocks) // 2)}
    note = f"ledgers: of {len(blocks)} of {len(steps)} steps; azr explain shows any other"
    return blocks, [note] if len(blocks) < len(steps) else []


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the steps, evenly spread, with the last one and, if `count` is at least 2, the first."""
    count = min(count, len(steps))
    if count < 2:
        return list(steps[len(steps) - count :])
    return [steps[round(at * (len(steps) - 1) / (count - 1))] for at in range(count)]


def _of_step(events: Sequence[Mapping[str, Any]], config: Config, decode: Callable[[int], str]) -> dict[str, Any]:
    """The ledgers of a step; empty if its events are malformed."""
    try:
        return {
            name: (
                list(rows(one)),
                differing(one),
                [(*_about(seen), list(token_rows(seen, TOKENS, decode))) for seen in one.passes],
            )
            for name, one in ledgers(Facts(events), config).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
