"""The reader of a child's bytes: whatever they are, an answer and no exception."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.sandbox.base import Mode, Reason
from azr.sandbox.guest.wire import pack_job, pack_outcome, unpack_job
from azr.sandbox.host.exchange import room_for_outcome, unpack_outcomes

RECORDS = st.fixed_dictionaries(
    {"value": st.none(), "reason": st.sampled_from(["syntax", "memory"]), "error": st.none(), "detail": st.just("why")}
) | st.fixed_dictionaries(
    {"value": st.text("aé1'[]", min_size=1), "reason": st.none(), "error": st.none(), "detail": st.just("")}
)


def read(payload, *, mode=Mode.CALL, output_bytes=100, most=3, whole=True):
    return unpack_outcomes(payload, mode=mode, output_bytes=output_bytes, most=most, whole=whole)


def plausible_bytes():
    """Bytes that get further than noise: heads with lengths that may fit, among anything."""
    head = st.builds(struct.Struct("=BIHH").pack, *(st.integers(0, n) for n in (12, 120, 9, 9)))
    return st.lists(head | st.binary(max_size=30), max_size=8).map(b"".join)


@given(st.binary(max_size=200) | plausible_bytes(), st.sampled_from(list(Mode)), st.booleans())
def test_any_bytes_give_valid_outcomes_or_none(payload, mode, whole):
    outcomes = read(payload, mode=mode, whole=whole)
    for outcome in outcomes or []:
        assert (outcome.value is None) == (outcome.reason is not None)
        assert (outcome.error is None) == (outcome.reason is not Reason.ERROR)
        assert outcome.value is None or len(outcome.value.encode()) <= 100
        assert mode is Mode.SCRIPT or (outcome.value or "1").isprintable()
        assert outcome.detail.isprintable()
        assert len(outcome.detail) <= 200
        assert outcome.reason not in (Reason.TAMPERED, Reason.NONDETERMINISTIC)
        assert mode is Mode.SCRIPT or outcome.reason not in (Reason.TIMEOUT, Reason.CRASHED)
    assert outcomes is None or len(outcomes) <= 3


@given(st.lists(RECORDS, max_size=3))
def test_what_our_code_writes_is_read(records):
    outcomes = read(b"".join(map(pack_outcome, records)))
    assert [(o.value, o.reason, o.detail) for o in outcomes] == [
        (r["value"], r["reason"], r["detail"]) for r in records
    ]


@given(st.lists(RECORDS, min_size=1, max_size=3), st.data())
def test_a_child_that_was_killed_may_leave_a_part_and_one_that_ended_may_not(records, data):
    packed = [pack_outcome(record) for record in records]
    cut = data.draw(st.integers(1, len(packed[-1]) - 1))
    payload = b"".join(packed)[:-cut]
    assert len(read(payload, whole=False)) == len(records) - 1
    assert read(payload, whole=True) is None


def test_more_outcomes_than_inputs_are_a_forgery():
    payload = pack_outcome({"value": "1", "reason": None, "error": None, "detail": ""}) * 4
    assert read(payload) is None


@pytest.mark.parametrize("reason", ["timeout", "crashed"])
def test_a_supervisor_says_how_a_script_was_killed_and_no_child_says_it_of_itself(reason):
    payload = pack_outcome({"value": None, "reason": reason, "error": None, "detail": "why"})
    assert [outcome.reason for outcome in read(payload, mode=Mode.SCRIPT)] == [reason]
    assert read(payload, mode=Mode.CALL) is None
    assert read(payload, mode=Mode.LITERAL) is None


@pytest.mark.parametrize(
    "change",
    [
        {"value": "x" * 101},
        {"value": "é" * 51},
        {"value": "a\nb"},
        {"value": ""},
        {"value": "1", "error": "KeyError"},
        {"value": "1", "reason": "memory"},
        {"value": "1", "detail": "a\x1b[0m"},
        {"value": "1", "detail": "x" * 201},
        {"reason": "error"},
        {"reason": "error", "error": "x" * 201},
        {"reason": "error", "error": "a\nb"},
    ],
)
def test_what_our_code_would_not_have_written_is_a_forgery(change):
    record = {"value": None, "reason": None, "error": None, "detail": ""}
    assert read(pack_outcome(record | {"value": "x" * 100})) is not None
    assert read(pack_outcome(record | change)) is None


@given(st.text(), st.lists(st.text(), max_size=3))
def test_a_job_arrives_as_it_was_sent(program, inputs):
    request = {
        "program": program,
        "inputs": tuple(inputs),
        "entry": "f",
        "mode": "call",
        "forbidden_modules": ("os",),
        "program_bytes": 1,
        "output_bytes": 2,
        "depth": 3,
        "memory_bytes": 2**40,
        "cpu_seconds": 5,
        "wall_seconds": 2.5,
    }
    assert unpack_job(pack_job(request)[4:]) == request


def test_room_for_an_outcome_is_enough_for_the_longest():
    longest = pack_outcome({"value": "x" * 5000, "reason": None, "error": None, "detail": "\U0001f600" * 200})
    assert len(longest) + 4096 <= room_for_outcome(5000)
