"""Ledgers of whole steps, for the page: the same that `azr explain` prints, for as many steps as there is room for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from azr import settings
from azr.analysis.archive import pack
from azr.analysis.ledger import Facts, Ledger, ledgers
from azr.analysis.surrogate import Pass
from azr.config import Config
from azr.domains import registry
from azr.errors import UserError
from azr.report.explain import differing, rows, token_decoder, token_rows
from azr.run.directory import EVENTS, RunDirectory
from azr.run.log import Log

STEPS = 16
"""Steps whose ledgers are recomputed, spread over the run: each takes as long as reading twenty thousand events."""
TOKENS = 8
"""Tokens that are listed of a pass: those that were pushed most."""


def ledger_blocks(run: Path, offsets: Mapping[int, int], budget: int) -> tuple[dict[int, str], list[str]]:
    """Ledgers by step, each step's as one block (see `azr.analysis.archive`), and what is left out, in words.

    Args:
        run: the run's folder.
        offsets: where each step begins in its events (bytes).
        budget: characters of base64 in all.

    Returns:
        for each step an object from rollout to [rows, differences, passes].
    """
    steps = sorted(step for step in offsets if step > 0)
    try:
        config = settings.build(RunDirectory.open(run).tree(), registry.config_class, source=str(run))
        decode = token_decoder(run)
    except UserError as error:
        return {}, [f"no ledgers: {error}"]
    blocks = dict[int, str]()
    for step in spread(steps, STEPS):
        if found := _of_step(list(_events(run / EVENTS, offsets, step)), config, decode):
            blocks[step] = base64.b64encode(pack(found)).decode("ascii")
    while blocks and sum(map(len, blocks.values())) > budget:
        kept = spread(sorted(blocks), len(blocks) // 2)
        blocks = {step: blocks[step] for step in kept}
    said = f"ledgers: of {len(blocks)} of {len(steps)} steps; azr explain shows any other"
    return blocks, [said] if len(blocks) < len(steps) else []


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most so many of the steps, evenly, the first and the last among them where there is room for two."""
    if len(steps) <= count:
        return list(steps)
    if count < 2:
        return list(steps[-count:]) if count else []
    return [steps[round(at * (len(steps) - 1) / (count - 1))] for at in range(count)]


def _of_step(events: list[dict[str, Any]], config: Config, decode: Callable[[int], str]) -> dict[str, Any]:
    """Ledgers of a step; none where its events are not what they should be."""
    try:
        return {name: _data(one, decode) for name, one in ledgers(Facts(events), config).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _data(ledger: Ledger, decode: Callable[[int], str]) -> tuple[Any, ...]:
    return list(rows(ledger)), differing(ledger), [_pass(seen, decode) for seen in ledger.passes]


def _pass(seen: Pass, decode: Callable[[int], str]) -> tuple[Any, ...]:
    """Ratio, share that was clipped, weight of a token, push in all, and the tokens that were pushed most."""
    ratio = f"{seen.ratio.min():.4f} to {seen.ratio.max():.4f}"
    about = (ratio, f"{seen.clip_share:.1%}", f"{seen.weight:.3g}", f"{seen.push.sum():+.3g}")
    return *about, list(token_rows(seen, TOKENS, decode))


def _events(path: Path, offsets: Mapping[int, int], step: int) -> Iterator[dict[str, Any]]:
    """Events of one step, which stand together."""
    later = [offset for offset in offsets.values() if offset > offsets[step]]
    end = min(later, default=None)
    for at, event in Log(path, offset=offsets[step]).new():
        if end is not None and at >= end:
            return
        if event.get("step") == step:
            yield event
