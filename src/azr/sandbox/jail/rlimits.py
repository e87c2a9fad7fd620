"""The user's own limits on our processes (`ulimit`), when they are too low for a sandbox or a job."""

import errno
import resource

_FEW_FILES = 256
_FLAGS = {errno.EMFILE: "-n", errno.EAGAIN: "-u", errno.ENOMEM: "-v"}  # the limit that may have caused an error
_NUMBERS = {
    "-n": resource.RLIMIT_NOFILE,
    "-t": resource.RLIMIT_CPU,
    "-u": resource.RLIMIT_NPROC,
    "-v": resource.RLIMIT_AS,
}


class LimitError(Exception):
    """A limit of the host is too low for a sandbox; the message names it."""


def what_is_left(*, descriptors: int, address_space: int, memory_bytes: int) -> dict[str, int | None]:
    """Return what a child of this process can get: `most_cpu_seconds` and `most_memory_bytes`, None without a limit.

    This process itself needs `descriptors`, and `memory_bytes` more than the `address_space` that it has taken.

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
    """Say in one line why a job cannot get `cpu_seconds` and `memory_bytes`; empty if it can.

    `left` is what `what_is_left` returned in the process that forks the job's.
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
    """Say why a process could not be started, and which limit may be the cause."""
    flag = _FLAGS.get(error.errno or 0)
    if flag is None:
        return str(error)
    return f"{error.strerror} (ulimit {flag} is {_shown(flag)}: raise it, or give the sandbox fewer workers)"


def why_dead() -> str:
    """Say which limits may have ended a process as soon as it was started."""
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
