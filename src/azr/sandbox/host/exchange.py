"""What every backend sends for a job, and how the end of its process becomes outcomes.

What comes from a process that ran a program is hostile: nothing here trusts it. `guest/wire.py` has the format.
"""

import json
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple

from azr.sandbox.base import JOB_BYTES, Job, Limits, Mode, Outcome, Reason
from azr.sandbox.guest.wire import OF_SCRIPTS, REASONS, RECORD, cause_of_death, processor_time_detail
from azr.sandbox.guest.worker import excess, second_order, utf8_bytes

HASH_SEEDS = ("1", "2")
"""PYTHONHASHSEED of the two processes of a determinism pair; fixed, so that a run can be repeated."""

_REASONS = tuple(reason if reason is None else Reason(reason) for reason in REASONS)
_MOST_CHARACTERS = 200  # of an error's name or a detail; up to four bytes each
_PAGE = 4096


class Stop(Enum):
    """Why a process that ran a job was killed."""

    NONE = 0
    WALL_CLOCK = 1
    TOO_MUCH_OUTPUT = 2
    TAMPERING = 3
    LOST = 4
    """The process that started it died, at every attempt."""
    MEMORY = 5
    PROCESSOR_TIME = 6


class Report(NamedTuple):
    """How a process that ran a job ended, as reported by its parent."""

    stop: Stop
    exit_code: int  # its exit status, or minus the signal that ended it
    cpu_seconds: float
    payload: bytes  # what it wrote; the program may have written it
    disturbed: bool = False  # whether a process was killed on the way, so that the result might differ another time


# --- what is sent ------------------------------------------------------------------------------------------------


def judged(job: Job) -> tuple[Outcome, ...] | None:
    """Return the outcomes of a job that is too large to be sent to a process; None if it is not."""
    too_long = excess(job.program, job.policy.program_bytes)
    if too_long and job.mode is not Mode.LITERAL:
        return _all(job, Reason.FORBIDDEN, too_long)
    total = sum(map(utf8_bytes, (job.program, *job.inputs)))
    if total > JOB_BYTES:
        return _all(job, Reason.MEMORY, f"program and inputs have {total} bytes, {JOB_BYTES} are allowed")
    return None


def content(job: Job, *, second: bool) -> dict[str, Any]:
    """Return all that the far side needs to know of a job, as plain data.

    The `second` run of a determinism pair has the inputs in the order of `worker.second_order`.
    """
    return {
        "program": job.program,
        "inputs": tuple(job.inputs[number] for number in second_order(len(job.inputs))) if second else job.inputs,
        "entry": job.entry,
        "mode": job.mode.value,
        "forbidden_modules": tuple(job.policy.forbidden_modules),
        "program_bytes": job.policy.program_bytes,
        "output_bytes": job.limits.output_bytes,
        "depth": job.limits.depth,
        "memory_bytes": job.limits.memory_bytes,
        "cpu_seconds": job.limits.cpu_seconds,
        "wall_seconds": job.limits.wall_seconds,
    }


def request(job: Job, *, second: bool) -> bytes:
    """Write a job for `child.run_job`; the arguments are those of `content`."""
    return json.dumps(content(job, second=second)).encode()


# --- what comes back ---------------------------------------------------------------------------------------------


def room_for_outcome(output_bytes: int) -> int:
    """Return the most room that one outcome takes in a pipe, which is filled by pages."""
    most = RECORD.size + output_bytes + 2 * 4 * _MOST_CHARACTERS
    return (most // _PAGE + 2) * _PAGE


def most_bytes(job: Job) -> int:
    """Return the most bytes that an honest child writes for a job."""
    return len(job.inputs) * room_for_outcome(job.limits.output_bytes)


def outcomes(job: Job, report: Report, *, second: bool) -> tuple[Outcome, ...]:
    """Derive a job's outcomes from how its process ended; the other arguments are those of `content`."""
    if report.stop in (Stop.TOO_MUCH_OUTPUT, Stop.TAMPERING):
        return _all(job, Reason.TAMPERED, "the program reached for what is not its own")
    read = unpack_outcomes(
        report.payload,
        mode=job.mode,
        output_bytes=job.limits.output_bytes,
        most=len(job.inputs),
        whole=report.stop is Stop.NONE and report.exit_code == 0,
    )
    if read is None:
        return _all(job, Reason.TAMPERED, "the process wrote what our code does not write")
    if len(read) < len(job.inputs):
        read += [_death(report, job.limits)] * (len(job.inputs) - len(read))
    if report.disturbed or report.stop is not Stop.NONE:
        read = [replace(outcome, disturbed=True) for outcome in read]
    if not second:
        return tuple(read)
    by_number = dict(zip(second_order(len(read)), read, strict=True))
    return tuple(by_number[number] for number in range(len(read)))


def unpack_outcomes(payload: bytes, *, mode: Mode, output_bytes: int, most: int, whole: bool) -> list[Outcome] | None:
    """Read what a child wrote: any bytes at all.

    A script's value is any text, all others are one printable line, of at most `output_bytes`. There are at most as
    many outcomes as inputs, `most`. Unless the child reached its end (`whole`), its last record may be cut short and is
    left out. None if our own code cannot have written the bytes.
    """
    outcomes: list[Outcome] = []
    at = 0
    while at < len(payload):
        end = at + RECORD.size
        if len(payload) >= end:
            code, *lengths = RECORD.unpack_from(payload, at)
            if code >= len(_REASONS) or lengths[0] > output_bytes or max(lengths[1:]) > 4 * _MOST_CHARACTERS:
                return None
            end += sum(lengths)
        if len(payload) < end:
            return None if whole else outcomes
        outcome = _outcome(payload[at + RECORD.size : end], _REASONS[code], lengths, mode)
        if outcome is None or len(outcomes) == most:
            return None
        outcomes.append(outcome)
        at = end
    return outcomes


def _outcome(body: bytes, reason: Reason | None, lengths: list[int], mode: Mode) -> Outcome | None:
    try:
        value = body[: lengths[0]].decode()
        error = body[lengths[0] : lengths[0] + lengths[1]].decode()
        detail = body[lengths[0] + lengths[1] :].decode()
    except UnicodeDecodeError:
        return None
    plain = (value.isprintable() and bool(value)) or mode is Mode.SCRIPT
    fits_reason = plain if reason is None else not value
    named = bool(error) == (reason is Reason.ERROR)
    sayable = reason not in OF_SCRIPTS or mode is Mode.SCRIPT
    if not (fits_reason and named and sayable and (error + detail).isprintable()):
        return None
    if max(len(error), len(detail)) > _MOST_CHARACTERS:
        return None
    return Outcome(value if reason is None else None, reason, error or None, detail)


def _death(report: Report, limits: Limits) -> Outcome:
    if report.stop is Stop.WALL_CLOCK:
        return Outcome(reason=Reason.TIMEOUT, detail=f"more than {limits.wall_seconds:g} s of wall time")
    if report.stop is Stop.MEMORY:
        return Outcome(reason=Reason.MEMORY, detail=f"more than {limits.memory_bytes} bytes of memory")
    if report.stop is Stop.PROCESSOR_TIME:
        return processor_time_up(limits)
    if report.stop is Stop.LOST:
        return Outcome(reason=Reason.CRASHED, detail="the process that it was to run in died, each time")
    reason, detail = cause_of_death(report.exit_code, report.cpu_seconds, limits.cpu_seconds)
    return Outcome(reason=Reason(reason), detail=detail)


def processor_time_up(limits: Limits) -> Outcome:
    """Return the outcome of an input whose job had used up its processor time."""
    return Outcome(reason=Reason.TIMEOUT, detail=processor_time_detail(limits.cpu_seconds))


def _all(job: Job, reason: Reason, detail: str) -> tuple[Outcome, ...]:
    return (Outcome(reason=reason, detail=detail),) * len(job.inputs)


# --- two runs ----------------------------------------------------------------------------------------------------

DECISIVE = frozenset({Reason.TIMEOUT, Reason.CRASHED, Reason.TAMPERED})
"""Reasons that end a whole process and say nothing about the value that an input would have had."""


def agree(first: tuple[Outcome, ...], second: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """Join the two runs of a determinism pair: the outcome if they agree, `NONDETERMINISTIC` if they do not."""
    return tuple(_agreed(one, other) for one, other in zip(first, second, strict=True))


def _agreed(one: Outcome, other: Outcome) -> Outcome:
    for outcome in (one, other):
        if outcome.reason in DECISIVE:
            return outcome
    disturbed = one.disturbed or other.disturbed
    # Not the detail: an exception's message may hold an object's address.
    if (one.value, one.reason, one.error) == (other.value, other.reason, other.error):
        return replace(one, disturbed=True) if disturbed else one
    detail = "two processes with different hash seeds disagree"
    return Outcome(reason=Reason.NONDETERMINISTIC, detail=detail, disturbed=disturbed)
