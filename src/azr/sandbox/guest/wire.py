"""How jobs and outcomes are written as bytes on the far side of the pipes. `protocol.py` reads them on the near side.

Only the standard library is imported: this module also runs inside the jail, and is sent to containers.
"""

from __future__ import annotations

import marshal
import signal
import struct
from typing import Any

NONCE_BYTES = 8
"""Before each job: random bytes that the host draws for this run alone. The payload begins with them, so the host knows
whose it is: only the process that read this job can have written it. A child writes them once it has read its whole job
and before anything of it runs. One that was killed earlier took no job, or half of one."""

LENGTH = struct.Struct("=I")
"""After the nonce: the length of the request that follows."""

HEADER = struct.Struct("=iId")
"""Before each payload: the wait status of the child, the length of the payload, the processor seconds used."""

RECORD = struct.Struct("=BIHH")
"""Before each outcome: reason, then the lengths in bytes of value, error and detail."""

REASONS = (
    *(None, "syntax", "forbidden", "no_entry", "bad_input", "error", "memory", "output_too_large"),
    *("unsupported_value", "timeout", "crashed"),
)
"""What a child can say, by the numbers that stand for it. All other reasons are for the host to find."""

OF_SCRIPTS = frozenset({"timeout", "crashed"})
"""What only a supervisor can say, of a script's process; of itself no child can."""

NEEDS_FULL = 4
"""The exit status of a child in a lean zygote whose program asked for a module that is not there. A program may exit
so by itself; then it is run again in a full zygote, where this status means nothing."""

FINAL, LEAN, FULL, WHOLE = b"O", b"L", b"F", b"W"
"""What a checker's answer begins with. Records of outcomes, as a child would write them; a program made ready that a
lean zygote can run; one that only a full zygote can; and nothing but word that a child has to do all of the work."""

_CODES = {reason: code for code, reason in enumerate(REASONS)}
_SHARED = ("entry", "mode", "output_bytes", "depth", "memory_bytes", "cpu_seconds", "wall_seconds")
_FIELDS = ("program", "inputs", "forbidden_modules", "program_bytes", *_SHARED)
_READY_FIELDS = ("ready", "second", *_SHARED)


def pack_job(request: dict[str, Any]) -> bytes:
    """Write a job: the request's values, in an order that both sides know.

    Args:
        request: with `ready`, a checker's work, and `second`, whether this is the second run of a determinism pair; or
            with the program's text, its inputs and its policy.
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
"""Where a limit on processor time killed a process, this share of it was used at least. The kernel samples that clock
by ticks, so on a busy machine the one that it reports may be well behind; with less, someone else did it."""


def was_killed(exit_code: int, cpu_seconds: float, allowed: int) -> bool:
    """Whether SIGKILL ended a process that had not come to its limit on processor time; see `cause_of_death`."""
    return exit_code == -signal.SIGKILL and cpu_seconds < allowed * _SPENT


def processor_time_detail(allowed: int) -> str:
    """Say that a limit on processor time was reached."""
    return f"more than {allowed} s of processor time"


def cause_of_death(exit_code: int, cpu_seconds: float, allowed: int) -> tuple[str, str]:
    """Say why a process ended before it was through: a reason, and a detail for people.

    Args:
        exit_code: its exit status, or minus the signal that ended it.
        cpu_seconds: processor time that it used.
        allowed: its limit on that.
    """
    # Who ignores SIGXCPU is killed, by the kernel.
    killed = exit_code == -signal.SIGKILL and not was_killed(exit_code, cpu_seconds, allowed)
    if killed or exit_code == -signal.SIGXCPU:
        return "timeout", processor_time_detail(allowed)
    if exit_code >= 0:
        return "crashed", f"the process ended itself with status {exit_code}"
    known = {number.value: number.name for number in signal.Signals}
    return "crashed", f"the process was killed by {known.get(-exit_code, f'signal {-exit_code}')}"
