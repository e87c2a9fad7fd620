"""What the host makes of the end of a process, whatever that process wrote."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.sandbox import Job, LocalSandbox, Mode, Outcome, Policy, Reason
from azr.sandbox.base import JOB_BYTES
from azr.sandbox.guest import worker
from azr.sandbox.guest.wire import pack_outcome
from azr.sandbox.host.exchange import Report, Stop, agree, content, judged, outcomes, request

JOB = Job("def f(x): return x", ("1", "2", "3"))


def report(payload: bytes = b"", *, stop: Stop = Stop.NONE, exit_code: int = 0, cpu_seconds: float = 0.0) -> Report:
    return Report(stop, exit_code, cpu_seconds, payload)


def packed(*values: str) -> bytes:
    return b"".join(pack_outcome({"value": value, "reason": None, "error": None, "detail": ""}) for value in values)


@given(
    payload=st.binary(max_size=200),
    stop=st.sampled_from(Stop),
    exit_code=st.integers(-300, 300),
    mode=st.sampled_from([Mode.CALL, Mode.SCRIPT]),
    second=st.booleans(),
)
def test_any_bytes_give_one_outcome_for_each_input(
    payload: bytes, stop: Stop, exit_code: int, mode: Mode, second: bool
) -> None:
    job = Job(JOB.program, JOB.inputs, mode=mode)
    found = outcomes(job, report(payload, stop=stop, exit_code=exit_code), second=second)
    assert len(found) == 3
    assert all((outcome.value is None) == (outcome.reason is not None) for outcome in found)


def test_the_second_run_gets_the_inputs_in_an_order_of_its_own() -> None:
    assert content(JOB, second=False)["inputs"] == ("1", "2", "3")
    assert json.loads(request(JOB, second=True))["inputs"] == ["2", "3", "1"]


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        (report(stop=Stop.WALL_CLOCK, exit_code=-signal.SIGKILL), "more than 5 s of wall time"),
        (report(exit_code=-signal.SIGKILL, cpu_seconds=5.0), "more than 5 s of processor time"),
        (report(stop=Stop.LOST, exit_code=-signal.SIGKILL), "the process that it was to run in died, each time"),
        (report(exit_code=3), "the process ended itself with status 3"),
        (report(exit_code=-signal.SIGSEGV), "the process was killed by SIGSEGV"),
        (report(exit_code=-99), "the process was killed by signal 99"),
    ],
)
def test_the_detail_says_how_a_process_ended(end: Report, detail: str) -> None:
    assert [outcome.detail for outcome in outcomes(JOB, end, second=False)] == [detail] * 3


def test_the_second_run_is_turned_back_to_the_order_of_the_inputs() -> None:
    found = outcomes(JOB, report(packed("2", "3", "1")), second=True)
    assert [outcome.value for outcome in found] == ["1", "2", "3"]


def test_outcomes_from_before_a_death_in_the_second_run_are_those_of_the_inputs_that_ran_first() -> None:
    found = outcomes(JOB, report(packed("2"), exit_code=-signal.SIGSEGV), second=True)
    assert [outcome.value for outcome in found] == [None, "2", None]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (report(stop=Stop.WALL_CLOCK, exit_code=-signal.SIGKILL), Reason.TIMEOUT),
        (report(exit_code=-signal.SIGXCPU), Reason.TIMEOUT),
        (report(exit_code=-signal.SIGKILL, cpu_seconds=6.0), Reason.TIMEOUT),
        (report(exit_code=-signal.SIGKILL, cpu_seconds=1.0), Reason.CRASHED),
        (report(exit_code=-signal.SIGSEGV), Reason.CRASHED),
        (report(exit_code=1), Reason.CRASHED),
        (report(exit_code=0), Reason.CRASHED),
        (report(stop=Stop.TOO_MUCH_OUTPUT, exit_code=-signal.SIGKILL), Reason.TAMPERED),
        (report(stop=Stop.TAMPERING), Reason.TAMPERED),
    ],
)
def test_an_end_without_outcomes_has_its_reason(end: Report, reason: Reason) -> None:
    assert [outcome.reason for outcome in outcomes(JOB, end, second=False)] == [reason] * 3


def test_outcomes_from_before_a_death_are_kept() -> None:
    end = report(packed("1") + packed("2")[:-1], exit_code=-signal.SIGSEGV)
    assert [outcome.value for outcome in outcomes(JOB, end, second=False)] == ["1", None, None]


def test_a_process_that_came_to_its_end_leaves_no_half_of_an_outcome() -> None:
    found = outcomes(JOB, report(packed("1") + packed("2")[:-1]), second=False)
    assert [outcome.reason for outcome in found] == [Reason.TAMPERED] * 3


def test_more_outcomes_than_inputs_are_tampering() -> None:
    found = outcomes(JOB, report(packed("1", "2", "3", "4")), second=False)
    assert [outcome.reason for outcome in found] == [Reason.TAMPERED] * 3


VALUE, ERROR, TIMEOUT = Outcome("1"), Outcome(reason=Reason.ERROR, error="KeyError"), Outcome(reason=Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        (VALUE, Outcome("1"), VALUE),
        (VALUE, Outcome("2"), Reason.NONDETERMINISTIC),
        (VALUE, ERROR, Reason.NONDETERMINISTIC),
        (ERROR, Outcome(reason=Reason.ERROR, error="KeyError", detail="at 0x7f"), ERROR),
        (ERROR, Outcome(reason=Reason.ERROR, error="IndexError"), Reason.NONDETERMINISTIC),
        (VALUE, TIMEOUT, TIMEOUT),
        (TIMEOUT, VALUE, TIMEOUT),
    ],
)
def test_a_pair_is_what_its_runs_agree_on(one: Outcome, other: Outcome, joined: Outcome | Reason) -> None:
    (found,) = agree((one,), (other,))
    assert joined in (found, found.reason)


@pytest.mark.parametrize("program", ["#" * 41, "#\u20ac" * 10 + "#", "#" + "\ud800" * 14])
def test_a_program_that_is_too_long_is_refused_in_the_words_of_a_child(program: str) -> None:
    job = Job(program, ("1", "2"), policy=Policy(program_bytes=40))
    (record, _) = worker.outcomes(content(job, second=False))
    assert judged(job) == (Outcome(**record),) * 2
    assert record["reason"] == "forbidden"


def test_a_job_within_its_bounds_is_sent() -> None:
    assert judged(Job("#" * 40, policy=Policy(program_bytes=40))) is None
    assert judged(Job("", ("1" * 99,), mode=Mode.LITERAL, policy=Policy(program_bytes=40))) is None
    assert judged(Job("", ("1" * (JOB_BYTES - 1), "2"))) is None


@pytest.mark.parametrize(
    "inputs", [("1" * (JOB_BYTES - 1),), ("\u20ac" * (JOB_BYTES // 6 + 1), "1" * (JOB_BYTES // 2))]
)
async def test_a_job_that_is_too_large_starts_no_process(inputs: tuple[str, ...]) -> None:
    sandbox = LocalSandbox()
    found = await sandbox.run(Job("# ", inputs))
    assert [outcome.reason for outcome in found] == [Reason.MEMORY] * len(inputs)
    assert sandbox.tier is None
