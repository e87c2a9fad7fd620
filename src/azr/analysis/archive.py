"""The texts of every step, compressed as they come in, so that a run of any length fits a given size.

A step has a block in each layer. Layers are ranked: if not everything fits, the least informative goes first, and the
page says so. A block is JSON, compressed by zlib; a browser opens it with `DecompressionStream("deflate")`.

    proposals  [text, detail, task data or null], in the order of the family's columns
    facts      [kind, index, task, [[reason, well_formed, tokens, finished, reward, advantage, detail], ...]], a prompt
    texts0..2  [prompt, attempt, text], by their positions in `facts`: first two attempts with different verdicts,
               then two more, then the rest
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from azr.analysis.family import index_of, short
from azr.analysis.step import OpenStep, Written

TEXTS = ((0, 2), (2, 4), (4, 1 << 30))
"""Ranks of the attempts at a prompt that belong to each layer of texts."""
LONGEST = 6000
"""Characters of a text that are kept, half from its start and half from its end."""
LAYERS = {
    "proposals": "what was proposed",
    "facts": "verdicts and rewards of attempts",
    "texts0": "the texts of attempts",
    "texts1": "the texts of a third and fourth attempt at a task",
    "texts2": "the texts of further attempts at a task",
}
"""The layers in words, most informative first."""


@dataclass(slots=True)
class Archive:
    """The blocks of a run."""

    most: int = 32 << 20
    """Most bytes of compressed blocks that a layer holds in memory; beyond that, it drops every second step."""
    blocks: dict[str, dict[int, bytes]] = field(default_factory=lambda: {layer: {} for layer in LAYERS})
    """Compressed, by layer and step."""
    strides: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LAYERS, 1))
    """A layer holds the steps that are multiples of its stride."""
    shortened: int = 0  # number of texts that were cut in the middle
    _sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LAYERS, 0))

    def add(self, step: OpenStep) -> None:
        """Add a step."""
        groups = list(step.groups().items())
        ranked = [_ranked(attempts) for _, attempts in groups]
        self._store("proposals", step.step, [self._proposal(proposal) for proposal in step.proposals.values()])
        self._store("facts", step.step, [_facts(name, attempts) for name, attempts in groups])
        for number, (first, last) in enumerate(TEXTS):
            block = [
                (group, attempt, self._cut(written.text))
                for group, order in enumerate(ranked)
                for attempt, written in order[first:last]
            ]
            self._store(f"texts{number}", step.step, block)

    def fitted(self, budget: int) -> tuple[dict[str, dict[int, str]], list[str]]:
        """The blocks that fit into `budget` characters of base64, and notes on what was left out."""
        chosen: dict[str, dict[int, str]] = {}
        said = []
        if self.shortened:
            said.append(f"{self.shortened:,} texts of over {LONGEST:,} characters are cut in the middle")
        for layer in LAYERS:
            stride, blocks = self.strides[layer], self.blocks[layer]
            if layer.startswith("texts"):  # a text is found by its position in the facts
                blocks = {step: block for step, block in blocks.items() if step in chosen["facts"]}
            while blocks and _encoded(blocks) > budget:
                stride *= 2
                blocks = {step: block for step, block in blocks.items() if step % stride == 0 and len(blocks) > 1}
            budget -= _encoded(blocks)
            chosen[layer] = {step: base64.b64encode(block).decode("ascii") for step, block in blocks.items()}
            if len(blocks) < len(self.blocks[layer]) or stride > 1:
                which = f"of {len(blocks):,} steps, spread over the run" if blocks else "left out"
                said.append(f"{LAYERS[layer]}: {which}, to keep the page small")
        return chosen, said

    def _store(self, layer: str, step: int, block: list[Any]) -> None:
        if not block or step % self.strides[layer]:
            return
        kept = self.blocks[layer]
        kept[step] = pack(block)
        self._sizes[layer] += len(kept[step])
        while self._sizes[layer] > self.most and len(kept) > 1:
            self.strides[layer] *= 2
            for old in [old for old in kept if old % self.strides[layer]]:
                self._sizes[layer] -= len(kept.pop(old))

    def _proposal(self, proposal: Written) -> tuple[str, str, Any]:
        data = proposal.born["task"]["data"] if proposal.born else None
        return self._cut(proposal.text), self._cut(str(proposal.verdict.get("detail", ""))), data

    def _cut(self, text: str) -> str:
        self.shortened += len(text) > LONGEST
        return shortened(text)


def pack(block: Any) -> bytes:
    """JSON, compressed."""
    return zlib.compress(json.dumps(block, separators=(",", ":")).encode("ascii"), 6)


def shortened(text: str) -> str:
    """The text without its middle if it is longer than `LONGEST`."""
    if len(text) <= LONGEST:
        return text
    gone, half = len(text) - LONGEST, LONGEST // 2
    return f"{text[:half]}\n[... {gone:,} characters left out ...]\n{text[-half:]}"


def _facts(name: str, attempts: Sequence[Written]) -> tuple[Any, ...]:
    facts = []
    for attempt in attempts:
        formed, detail = attempt.verdict.get("well_formed"), str(attempt.verdict.get("detail", ""))[:LONGEST]
        end = (attempt.tokens, int(attempt.finished), short(attempt.reward), short(attempt.advantage), detail)
        facts.append((attempt.reason, int(bool(formed)), *end))
    return attempts[0].kind, index_of(name), attempts[0].task, facts


def _ranked(attempts: Sequence[Written]) -> list[tuple[int, Written]]:
    """Attempts with their indices: one of each verdict first, a right one before all, then the others."""
    first = {attempt.reason: at for at, attempt in reversed([*enumerate(attempts)])}
    return sorted(enumerate(attempts), key=lambda each: (first[each[1].reason] != each[0], not each[1].passed, each[0]))


def _encoded(blocks: dict[int, bytes]) -> int:
    """Characters of the blocks as base64."""
    return sum(4 * -(-len(block) // 3) for block in blocks.values())
