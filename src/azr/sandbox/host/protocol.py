"""The bytes between the host and a zygote's children. What comes from a child is hostile: nothing here trusts it.

`wire.py` writes these bytes and has what both sides share. A job goes down as a nonce, a length and a marshalled
request: written by the host, so a child may read it that way. For each child the zygote sends up a header of its own
and then, unread, the bytes that the child wrote: records of one outcome each, which `unpack_outcomes` reads without
believing anything. A child never holds the descriptor of that stream, so that no child can write a header, or bytes
that would count as another child's.
"""

from __future__ import annotations

from azr.sandbox.base import Mode, Outcome, Reason
from azr.sandbox.guest.wire import (
    HEADER,
    LENGTH,
    NONCE_BYTES,
    OF_SCRIPTS,
    REASONS,
    RECORD,
    pack_job,
    pack_outcome,
    unpack_job,
)

__all__ = [
    "HEADER",
    "LENGTH",
    "NONCE_BYTES",
    "pack_job",
    "pack_outcome",
    "room_for_outcome",
    "unpack_job",
    "unpack_outcomes",
]

_REASONS = tuple(reason if reason is None else Reason(reason) for reason in REASONS)
_MOST_CHARACTERS = 200  # of an error's name or a detail; up to four bytes each
_PAGE = 4096


def room_for_outcome(output_bytes: int) -> int:
    """Give the most room that one outcome takes in a pipe, which is filled by pages."""
    most = RECORD.size + output_bytes + 2 * 4 * _MOST_CHARACTERS
    return (most // _PAGE + 2) * _PAGE


def unpack_outcomes(payload: bytes, *, mode: Mode, output_bytes: int, most: int, whole: bool) -> list[Outcome] | None:
    """Read what a child wrote.

    Args:
        payload: any bytes at all.
        mode: of the job; a script's value is any text, all others' are one printable line.
        output_bytes: the longest value allowed.
        most: the number of inputs.
        whole: whether the child came to its end; if not, its last record may be cut short, and is left out.

    Returns:
        the outcomes; None where the bytes cannot have been written by our own code.
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
