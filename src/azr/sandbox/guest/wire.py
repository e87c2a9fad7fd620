"""The bytes of jobs and outcomes: what both sides of the pipes share. `exchange.py` reads outcomes on the near side.

A job goes down as a nonce, a length and a marshalled request: the host writes it, so a child may read it that way. For
each child the zygote sends up a header of its own and then, unread, the bytes that the child wrote: records of one
outcome each. A child never holds the descriptor of that stream, so no child can write a header, or bytes that would
count as another child's.
"""

from __future__ import annotations

import marshal
import signal
import struct
from typing import Any

NONCE_BYTES = 8
"""Before each job: random bytes that the host draws for this run alone. The payload begins with them: only the process
that read this job can have written it. A child writes them once it has read its whole job and before anything of it
runs. One that was killed earlier took no job, or half of one."""

LENGTH = struct.Struct("=I")  # after the nonce: the length of the request that follows
HEADER = struct.Struct("=iId")  # before each payload: the child's wait status, the payload's length, processor seconds
RECORD = struct.Struct("=BIHH")  # before each outcome: reason, then the lengths in bytes of value, error and detail

REASONS = (
    *(None, "syntax", "forbidden", "no_entry", "bad_input", "error", "memory", "output_too_large"),
    *("unsupported_value", "timeout", "crashed"),
)
"""The reasons that a child can report, by their codes. Only the host reports others."""

OF_SCRIPTS = frozenset({"timeout", "crashed"})  # reasons that only a supervisor can report, about a script's process

NEEDS_FULL = 4
"""The exit status of a child of a lean zygote whose program asked for a missing module. A program that exits with it
itself is run again in a full zygote, where this status means nothing."""

FINAL, LEAN, FULL, WHOLE = b"O", b"L", b"F", b"W"
"""The first byte of a checker's answer: records of outcomes follow, as a child would write them; a program made ready
for a lean zygote; one for a full zygote; nothing, because a child has to do all the work."""

_CODES = {reason: code for code, reason in enumerate(REASONS)}
_SHARED = ("entry", "mode", "output_bytes", "depth", "memory_bytes", "cpu_seconds", "wall_seconds")
_FIELDS = ("program", "inputs", "forbidden_modules", "program_bytes", *_SHARED)
_READY_FIELDS = ("ready", "second", *_SHARED)


def pack_job(request: dict[str, Any]) -> bytes:
    """Write a job: the request's values, in an order that both sides know.

    The request has either `ready`, a checker's work, and `second`, whether this is the second run of a determinism
    pair, or the program's text, its inputs and its policy.
    """
    fields = _READY_FIELDS if "ready" in request else _FIELDS
    values = [request[field] for field in fields]
    body = marshal.dumps(tuple(values) if "ready" in request else values)
    return LENGTH.pack(len(body)) + body


def unpack_job(body: bytes | bytearray) -> dict[str, Any]:
    """Read a job in the child. The bytes come from the host."""
    values = marshal.loads(body)
    return dict(zip(_READY_FIELDS if type(values) is tuple else _FIELDS, values, strict=True))


def pack_outcome(record: dict[str, Any]) -> bytes:
    """Write one outcome, as `azr.sandbox.guest.worker` gives it, in the child."""
    value: bytes = (record["value"] or "").encode()
    error: bytes = (record["error"] or "").encode()
    detail: bytes = record["detail"].encode()
    return RECORD.pack(_CODES[record["reason"]], len(value), len(error), len(detail)) + value + error + detail


_SPENT = 0.5
"""The least share of its processor time that a process has used when that limit killed it; with less, someone else did.
The kernel samples that clock by ticks, so on a busy machine the reported time may be well behind."""


def was_killed(exit_code: int, cpu_seconds: float, allowed: int) -> bool:
    """Whether SIGKILL ended a process that had not reached its limit on processor time (see `cause_of_death`).

    No program can send SIGKILL, not even to itself; the kernel sends it at the limit.
    """
    return exit_code == -signal.SIGKILL and cpu_seconds < allowed * _SPENT


def processor_time_detail(allowed: int) -> str:
    """Say that a limit on processor time was reached."""
    return f"more than {allowed} s of processor time"


def cause_of_death(exit_code: int, cpu_seconds: float, allowed: int) -> tuple[str, str]:
    """Return the reason why a process ended early, and a detail for people.

    `exit_code` is its exit status, or minus the signal that ended it; `allowed` its limit on `cpu_seconds`.
    """
    # The kernel kills a process that ignores SIGXCPU.
    killed = exit_code == -signal.SIGKILL and not was_killed(exit_code, cpu_seconds, allowed)
    if killed or exit_code == -signal.SIGXCPU:
        return "timeout", processor_time_detail(allowed)
    if exit_code >= 0:
        return "crashed", f"the process ended itself with status {exit_code}"
    known = {number.value: number.name for number in signal.Signals}
    return "crashed", f"the process was killed by {known.get(-exit_code, f'signal {-exit_code}')}"
