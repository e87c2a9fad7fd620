"""Limits that this machine's user put on our own processes (`ulimit`), where they are too low for a sandbox or a job.

Only the standard library is imported: a zygote asks too, before it shuts itself in.
"""

from __future__ import annotations

import errno
import resource

_FEW_FILES = 256
_FLAGS = {errno.EMFILE: "-n", errno.EAGAIN: "-u", errno.ENOMEM: "-v"}
"""Which limit may be behind an error."""

_NUMBERS = {
    "-n": resource.RLIMIT_NOFILE,
    "-t": resource.RLIMIT_CPU,
    "-u": resource.RLIMIT_NPROC,
    "-v": resource.RLIMIT_AS,
}


class LimitError(Exception):
    """A limit of the host that leaves too little for a sandbox; the message names it."""


def what_is_left(*, descriptors: int, address_space: int, memory_bytes: int) -> dict[str, int | None]:
    """Say what a child of this process may still be given; nothing that is forked here can have more.

    Args:
        descriptors: how many this process needs.
        address_space: how many bytes it has taken.
        memory_bytes: how many more it needs.

    Returns:
        `most_cpu_seconds` and `most_memory_bytes`, None where there is no limit.

    Raises:
        LimitError: too little for this process.
    """
    files, seconds, memory = _hard("-n"), _hard("-t"), _hard("-v")
    if files is not None and files < descriptors:
        raise LimitError(
            f"the sandbox needs {descriptors} open files in each of its processes and the limit is {files}: raise it "
            f"(ulimit -n {4 * descriptors})"
        )
    needed = address_space + memory_bytes
    if memory is not None and memory < needed:
        raise LimitError(
            f"the sandbox needs {needed // 1024} KB of address space in each of its processes and the limit is "
            f"{memory // 1024}: raise it (ulimit -v unlimited)"
        )
    return {"most_cpu_seconds": seconds, "most_memory_bytes": None if memory is None else memory - address_space}


def too_much_for(left: dict[str, int | None], *, cpu_seconds: int, memory_bytes: int) -> str:
    """Say in one line why a job cannot have the limits that it asks for; empty where it can.

    Args:
        left: what `what_is_left` gave in the process that forks the job's.
        cpu_seconds: what the job may use, and so must be able to get.
        memory_bytes: likewise.
    """
    seconds, memory = left["most_cpu_seconds"], left["most_memory_bytes"]
    if seconds is not None and seconds < cpu_seconds:
        return (
            f"a job may use {cpu_seconds} s of processor time and this machine's limit is {seconds} s: raise it "
            "(ulimit -t unlimited) or give jobs less"
        )
    if memory is not None and memory < memory_bytes:
        return (
            f"a job may use {memory_bytes // 1024} KB of memory and this machine's limit leaves "
            f"{max(0, memory) // 1024}: raise it (ulimit -v unlimited) or give jobs less"
        )
    return ""


def why_not_started(error: OSError) -> str:
    """Say which limit may be behind the error of a process that could not be started."""
    flag = _FLAGS.get(error.errno or 0)
    if flag is None:
        return str(error)
    limit = _shown(flag)
    return f"{error.strerror} (ulimit {flag} is {limit}: raise it, or give the sandbox fewer workers)"


def why_dead() -> str:
    """Say which limits may be behind a process that ended as soon as it was started."""
    files = _hard("-n")
    flags = [flag for flag in ("-t", "-v") if _hard(flag) is not None]
    if files is not None and files < _FEW_FILES:
        flags.append("-n")
    limits = [f"ulimit {flag} is {_shown(flag)}" for flag in flags]
    return f"; perhaps for want of what is limited: {', '.join(limits)}" if limits else ""


def _hard(flag: str) -> int | None:
    limit = resource.getrlimit(_NUMBERS[flag])[1]
    return None if limit == resource.RLIM_INFINITY else limit


def _shown(flag: str) -> str:
    limit = resource.getrlimit(_NUMBERS[flag])[0]
    if limit == resource.RLIM_INFINITY:
        return "unlimited"
    return str(limit // 1024 if flag == "-v" else limit)
