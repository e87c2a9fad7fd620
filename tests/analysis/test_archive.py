"""What was written, kept small: which texts go first, and that it is told."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from azr.analysis.archive import LAYERS, LONGEST, Archive
from azr.analysis.step import OpenStep, Written


def opened(block: str | bytes):
    raw = base64.b64decode(block) if isinstance(block, str) else block
    return json.loads(zlib.decompress(raw))


def written(name: str, reason: str, *, text: str = "text", task: str | None = "t") -> Written:
    verdict = {
        "well_formed": True,
        "score": float(reason in ("correct", "accepted")),
        "reason": reason,
        "detail": "why",
    }
    return Written(name, "deduction", text, 7, True, task, verdict=verdict, reward=0.123456, advantage=None)


def step(number: int, reasons=("wrong", "wrong", "error", "correct", "wrong"), text: str = "text") -> OpenStep:
    found = OpenStep(number)
    proposal = written(f"{number}/propose/deduction/0000", "accepted", text=text)
    proposal.born = {"task": {"id": "t", "data": {"program": "p"}}}
    found.proposals[proposal.id] = proposal
    for at, reason in enumerate(reasons):
        attempt = written(f"{number}/solve/deduction/0000/{at}", reason, text=f"{text}{number}.{at}")
        found.attempts[attempt.id] = attempt
    return found


def test_proposals_and_facts_are_kept_in_order():
    archive = Archive()
    archive.add(step(3))
    assert opened(archive.blocks["proposals"][3]) == [["text", "why", {"program": "p"}]]
    ((kind, index, task, facts),) = opened(archive.blocks["facts"][3])
    assert (kind, index, task) == ("deduction", 0, "t")
    assert facts[3] == ["correct", 1, 7, 1, 0.1235, None, "why"]


def test_texts_of_different_fates_come_first():
    archive = Archive()
    archive.add(step(1))
    layers = [[attempt for _, attempt, _ in opened(archive.blocks[f"texts{number}"][1])] for number in range(3)]
    assert layers == [[3, 0], [2, 1], [4]]  # right, wrong; error, then the other wrong ones


def test_every_text_is_in_exactly_one_layer():
    archive = Archive()
    archive.add(step(1, reasons=["wrong"] * 8))
    found = [tuple(entry) for number in range(3) for entry in opened(archive.blocks[f"texts{number}"][1])]
    assert sorted(found) == [(0, attempt, f"text1.{attempt}") for attempt in range(8)]


def test_all_fits_and_nothing_is_said():
    archive = Archive()
    for number in range(1, 9):
        archive.add(step(number))
    chosen, said = archive.fitted(1_000_000)
    assert {layer: len(blocks) for layer, blocks in chosen.items()} == dict.fromkeys(LAYERS, 8)
    assert said == []


@pytest.mark.parametrize("budget", [100, 1500, 3000])
def test_the_budget_is_kept_and_what_goes_is_told(budget):
    archive = Archive()
    for number in range(1, 33):
        archive.add(step(number))
    chosen, said = archive.fitted(budget)
    assert sum(len(block) for blocks in chosen.values() for block in blocks.values()) <= budget
    assert len(said) >= 1
    texts = [set(chosen[f"texts{number}"]) for number in range(3)]
    assert all(steps <= set(chosen["facts"]) for steps in texts)  # a text without its facts cannot be found
    assert len(chosen["proposals"]) >= len(chosen["facts"])


def test_memory_is_bounded_by_letting_every_second_step_go():
    archive = Archive(most=400)
    for number in range(1, 65):
        archive.add(step(number))
    for layer in LAYERS:
        kept = archive.blocks[layer]
        assert sum(map(len, kept.values())) <= 400
        assert all(number % archive.strides[layer] == 0 for number in kept)


def test_a_long_text_keeps_its_beginning_and_its_end():
    archive = Archive()
    archive.add(step(1, text="a" * LONGEST + "z" * LONGEST))
    ((text, _, _),) = opened(archive.blocks["proposals"][1])
    assert text.startswith("aaa")
    assert text.endswith("zzz")
    assert len(text) < LONGEST + 60
    assert f"{LONGEST:,} characters left out" in text
    assert any("cut in the middle" in words for words in archive.fitted(10**6)[1])
