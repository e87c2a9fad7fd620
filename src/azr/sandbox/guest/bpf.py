"""Assembling and installing filters of system calls in BPF. `seccomp.py` and `threads.py` say what they allow."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

LOAD, JUMP_EQUAL, JUMP_ANY_BIT, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
AT_NUMBER, AT_AUDIT, AT_ARGUMENTS = 0, 4, 16

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's audit numbers of the architectures that have filters."""

SECCOMP = {"x86_64": 317, "aarch64": 277}  # the number of the system call `seccomp`
SET_MODE_FILTER = 1
_X32 = 0x40000000  # on x86-64 a number with this bit names the call of another ABI
_PR_SET_NO_NEW_PRIVS = 38


def step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Write one instruction: a `struct sock_filter`."""
    return struct.pack("=HBBI", code, then, otherwise, value & 0xFFFFFFFF)


def opening(audit: int) -> list[bytes]:
    """Write the beginning of each filter: a call of another architecture ends the process; load the call's number."""
    return [
        step(LOAD, AT_AUDIT),
        step(JUMP_EQUAL, audit, then=1),
        step(RETURN, KILL_PROCESS),
        step(LOAD, AT_NUMBER),
        step(JUMP_AT_LEAST, _X32, otherwise=1),
        step(RETURN, KILL_PROCESS),
    ]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(code: bytes) -> None:
    """Put a filter on this process and on all that it will fork, for good and on top of other filters.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(code) // 8, code)
    number = ctypes.c_long(SECCOMP[this_machine()])
    require(libc.syscall(number, SET_MODE_FILTER, 0, ctypes.byref(program)), "seccomp filter")


def no_new_privileges() -> None:
    """Give up, for good, what a set-uid program could gain.

    Raises:
        OSError: the kernel refuses.
    """
    require(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def require(result: int, what: str) -> int:
    """Return the result of a C function that is negative if it fails.

    Raises:
        OSError: it failed; the message says what was refused.
    """
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what} refused: {os.strerror(code)}")
    return result


def this_machine() -> str:
    """Return this machine's architecture.

    Raises:
        OSError: there are no filters for it.
    """
    name = os.uname().machine
    if name not in AUDIT or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no list of system calls for {name}")
    return name
