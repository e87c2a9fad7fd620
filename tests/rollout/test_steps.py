"""Several decoding steps in one compiled call draw what single operations draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from azr.models.load import LanguageModel
from azr.rollout.base import Sampling
from azr.rollout.local.batch import OwnBatch
from azr.rollout.local.decode import Decoder, Finished, Ticket
from tests.rollout.test_lean import FAMILIES, made

COMPUTED = ["llama", "llama with biases", "llama, tied, llama3 positions", "qwen2"]
ENDS = (3, 50)
NEVER = (-1,)
HOT = Sampling(30, temperature=1.0)


def decoder_of(model: Any, *, ends: tuple[int, ...] = ENDS, whole: bool = True) -> Decoder:
    decoder = Decoder(LanguageModel("test", model, None, ends, (), None), max_rows=64, seed=0)
    if not whole:
        assert decoder._lean is not None
        decoder._lean._for_steps = lambda: None  # type: ignore[method-assign]
    return decoder


def ticket(key: str, sampling: Sampling = HOT, *, length: int = 5, rows: int = 1) -> Ticket:
    prompt = np.random.default_rng(length).integers(99, size=length)
    return Ticket(tuple(prompt.tolist()), key, range(rows), sampling)


def finished(decoder: Decoder, tickets: Sequence[Ticket], *, most: int = 16) -> dict[tuple[str, int], Finished]:
    """Rows of tickets that start together, by key and number, `most` steps at a time."""
    found = decoder.admit(tickets)
    while decoder.rows:
        found += decoder.run(most)[1]
    return {(row.ticket.key, row.row): row for row in found}


MANY = [ticket("a", rows=8, length=20), ticket("b", Sampling(9), rows=3), ticket("c", Sampling(40, temperature=0.7))]


@pytest.mark.parametrize("family", COMPUTED)
def test_rows_are_those_of_single_operations(family: str) -> None:
    model = made(FAMILIES[family])
    one, other = (finished(decoder_of(model, whole=whole), MANY) for whole in (True, False))
    assert {key: row.completion_ids for key, row in one.items()} == {
        key: row.completion_ids for key, row in other.items()
    }
    assert len({row.ended for row in one.values()}) == 2
    for key, row in one.items():
        assert row.ended == other[key].ended
        assert row.logprobs == pytest.approx(other[key].logprobs, abs=1e-4)


def test_temperature_zero_takes_the_most_probable_token() -> None:
    model = made(FAMILIES["llama"])
    greedy = ticket("a", Sampling(12, temperature=0.0))
    (row,) = finished(decoder_of(model, ends=NEVER), [greedy]).values()
    ids = [*greedy.prompt_ids, *row.completion_ids]
    with torch.no_grad():
        best = model(torch.tensor([ids])).logits[0, len(greedy.prompt_ids) - 1 : -1].argmax(dim=1)
    assert list(row.completion_ids) == best.tolist()


def test_the_number_of_steps_in_a_call_changes_no_bit() -> None:
    model = made(FAMILIES["llama with biases"])
    expected = finished(decoder_of(model), MANY, most=1)
    assert len(expected) == 12
    for most in (7, 16, 200):
        assert finished(decoder_of(model), MANY, most=most) == expected


def test_the_number_of_threads_changes_no_bit() -> None:
    model, before = made(FAMILIES["qwen2"]), torch.get_num_threads()

    def drawn(threads: int) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        decoder = decoder_of(model)
        decoder.admit(MANY)
        found: list[Finished] = []
        torch.set_num_threads(threads)  # prompts are read by torch, whose rounding depends on it
        try:
            while decoder.rows:
                found += decoder.run(16)[1]
        finally:
            torch.set_num_threads(before)
        return sorted((row.completion_ids, row.logprobs) for row in found)

    assert drawn(1) == drawn(3)


def test_a_row_ends_with_the_first_end_token_or_at_its_limit() -> None:
    rows = finished(decoder_of(made(FAMILIES["llama"])), [ticket("a", Sampling(60), rows=40)])
    ended = [row for row in rows.values() if row.ended]
    assert {row.completion_ids[-1] for row in ended} == set(ENDS)
    assert not any(set(row.completion_ids[:-1]) & set(ENDS) for row in rows.values())
    assert all(len(row.completion_ids) == 60 for row in rows.values() if not row.ended)
    assert 0 < len(ended) < len(rows)


def test_long_rows_continue_their_random_streams_and_pages() -> None:
    model = made(FAMILIES["llama"])
    long = [ticket("a", Sampling(300), rows=2), ticket("b", Sampling(290))]
    one, other = (finished(decoder_of(model, ends=NEVER, whole=whole), long) for whole in (True, False))
    assert [len(one[key].completion_ids) for key in (("a", 0), ("a", 1), ("b", 0))] == [300, 300, 290]
    assert {key: row.completion_ids for key, row in one.items()} == {
        key: row.completion_ids for key, row in other.items()
    }


def test_positions_beyond_the_table_extend_it() -> None:
    model = made(FAMILIES["qwen2"])
    long = ticket("a", Sampling(20), length=1020)
    one, other = (finished(decoder_of(model, ends=NEVER, whole=whole), [long]) for whole in (True, False))
    assert one["a", 0].completion_ids == other["a", 0].completion_ids


def test_rows_join_and_leave_between_calls() -> None:
    model = made(FAMILIES["llama with biases"])

    def drawn(*, whole: bool) -> dict[tuple[str, int], tuple[int, ...]]:
        decoder = decoder_of(model, whole=whole)
        found = decoder.admit([ticket("a", Sampling(40), rows=9, length=33)])
        for key in "bcd":
            for _ in range(5 if whole else 35):
                found += decoder.run(7 if whole else 1)[1] if decoder.rows else []
            found += decoder.admit([ticket(key, Sampling(40), rows=9, length=17)])
        while decoder.rows:
            found += decoder.run(7)[1]
        return {(row.ticket.key, row.row): row.completion_ids for row in found}

    assert drawn(whole=True) == drawn(whole=False)


@pytest.mark.parametrize("part", ["lm_head", "model.embed_tokens", "model.norm", "model.layers.1.mlp.down_proj"])
def test_an_update_of_the_weights_is_decoded_with(part: str) -> None:
    model = made(FAMILIES["llama"])
    decoder = decoder_of(model)
    before = finished(decoder, MANY)
    with torch.no_grad():
        model.get_submodule(part).weight.mul_(1.5)
    after = finished(decoder, MANY)
    assert after != before
    assert after == finished(decoder_of(model), MANY)


def test_a_nucleus_is_left_to_torch() -> None:
    model, cut = made(FAMILIES["llama"]), ticket("a", Sampling(30, top_p=0.5), rows=4)
    one, other = (finished(decoder_of(model, whole=whole), [cut]) for whole in (True, False))
    assert one == other


def test_rows_continue_by_single_operations_when_a_nucleus_joins() -> None:
    model, cut = made(FAMILIES["llama"]), ticket("b", Sampling(30, top_p=0.9), length=7)

    def drawn(*, whole: bool) -> dict[str, tuple[int, ...]]:
        decoder = decoder_of(model, whole=whole, ends=NEVER)
        found = decoder.admit([ticket("a", Sampling(60), length=7)])
        for _ in range(1 if whole else 20):
            found += decoder.run(20 if whole else 1)[1]
        assert decoder.rows
        found += decoder.admit([cut])
        while decoder.rows:
            found += decoder.run(20)[1]
        return {row.ticket.key: row.completion_ids for row in found}

    assert drawn(whole=True) == drawn(whole=False)


def test_rows_that_wait_take_the_slots_of_rows_that_end_at_once() -> None:
    policy = LanguageModel("test", made(FAMILIES["llama"]), None, NEVER, (), None)
    batch = OwnBatch(Decoder(policy, max_rows=2, seed=0))
    batch.add([ticket(key, Sampling(limit)) for key, limit in (("a", 3), ("b", 11), ("c", 8))])
    assert {row.ticket.key for row in batch.turn(12)} == {"a", "b", "c"}  # c needs 7 steps after its first token


@pytest.mark.parametrize(
    ("family", "taken"), [("llama", True), ("qwen2", True), ("qwen3, heads wider than the model", False)]
)
def test_which_models_are_decoded_in_one_call(family: str, taken: bool) -> None:
    decoder = decoder_of(made(FAMILIES[family]))
    finished(decoder, [ticket("a")])
    assert decoder._lean is not None
    assert decoder._lean.takes_steps == taken


def test_models_that_do_not_fit_into_a_cache_are_decoded_by_single_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azr.rollout.local.lean.WHOLE_BYTES", 1000)
    decoder = decoder_of(made(FAMILIES["llama"]))
    assert finished(decoder, [ticket("a")])["a", 0].completion_ids
    assert decoder._lean is not None
    assert not decoder._lean.takes_steps


def test_shorter_vectors_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azr.rollout.local.lean.AVAILABLE", False)
    decoder = decoder_of(made(FAMILIES["llama"]))
    finished(decoder, [ticket("a")])
    assert decoder._lean is not None
    assert decoder._lean.takes_steps


def test_weights_are_kept_again_once() -> None:
    decoder = decoder_of(made(FAMILIES["llama"]))
    finished(decoder, [ticket("a")])
    lean = decoder._lean
    assert lean is not None
    assert lean._whole is not None
    for number, layer in enumerate(lean._layers):
        for place, product in zip((3, 5, 7, 9), (layer.qkv, layer.answer, layer.gate_up, layer.down), strict=True):
            assert product.dense is not None
            assert np.shares_memory(lean._whole.layers[place][number], product.dense.blocks)
