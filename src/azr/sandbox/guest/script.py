"""Scripts: each runs in a process of its own, with a real standard input and output, and a supervisor that waits.

The supervisor is the process that took the job; none of the program runs in it. For each input it makes two files in
memory, or on disk on macOS, as a judge redirects `< input > output`, and forks. The script's process has them as
descriptors 0 and 1, has no way to the pipe for outcomes, and can start threads but no process (`threads.py`). When it
is dead with all its threads, the supervisor reads the output and writes the record. So whatever a script does to its
streams, descriptors, interpreter or threads, a value is what stood in the output of a process that ended with status 0.

Limits hold for the script's process: it inherits the limit on memory, gets the processor time that the job has left,
and RLIMIT_FSIZE limits its output. If the supervisor ends, the kernel kills the script.
"""

from __future__ import annotations

import atexit
import math
import os
import resource
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Never

from azr.sandbox.guest.process import fork, write_all
from azr.sandbox.guest.running import TO_MODULE, Record, failure, frames_below, printable, run_module, success, tried
from azr.sandbox.guest.threads import die_with_parent, only_threads
from azr.sandbox.guest.wire import cause_of_death, processor_time_detail, was_killed

_FAILED = 1
"""The exit status of a script's process that says how the program failed. A program that forges both has failed too."""

_NAME = "main.py"
_MFD_NOEXEC_SEAL = 8


def outcomes(code: types.CodeType, texts: list[str], request: dict[str, Any]) -> Iterator[Record]:
    """Run a program once for each standard input in `texts`.

    The request of `worker.outcomes` also has `payload`, a descriptor that the program must not get, and, if known,
    `processes`, the value for RLIMIT_NPROC. It may have `files`: the paths of two files for input and output.
    """
    before = _seconds_of_children()
    left: float = request["cpu_seconds"]
    for text in texts:
        record = _outcome(code, text, request, left)
        yield record
        # The kernel may have killed it a little before the limit.
        left = 0 if record["reason"] == "timeout" else request["cpu_seconds"] - (_seconds_of_children() - before)


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _outcome(code: types.CodeType, text: str, request: dict[str, Any], seconds: float) -> Record:
    """Run the program on one input with the processor time that is left."""
    time_up = failure("timeout", processor_time_detail(request["cpu_seconds"]))
    if seconds <= 0:
        return time_up
    paths = request.get("files", (None, None))
    given, printed = _file(text.encode("utf-8", "surrogatepass"), paths[0]), _file(b"", paths[1])
    reader, writer = os.pipe()
    supervisor = os.getpid()
    # Supervisors of a determinism pair may count from 1 in containers of their own, where their ids differ in this.
    # With several inputs the ids that come next would not.
    child = fork(odd=supervisor % 2 == 0)
    if child == 0:
        try:
            _enter(given, printed, (reader, request.get("payload")), supervisor)
            with suppress(ValueError, OSError):  # macOS; on Linux none is refused, as all are lowered
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds),) * 2)
                resource.setrlimit(resource.RLIMIT_FSIZE, (request["output_bytes"] + 1,) * 2)
            only_threads(request.get("processes"))
            _be_script(code, writer)
        finally:
            os._exit(_FAILED)
    os.close(writer)
    _, status, usage = os.wait4(child, 0)
    failed = _failed(status, reader, usage.ru_utime + usage.ru_stime, math.ceil(seconds))
    if failed is not None and failed["reason"] == "timeout":
        failed = time_up
    output = os.pread(printed, request["output_bytes"] + 1, 0)
    for descriptor in (given, printed, reader):
        os.close(descriptor)
    return _record(failed, output, request["output_bytes"])


def _file(content: bytes, path: str | None) -> int:
    """Open a file with this content: the one at `path`, or a new one that has no path."""
    descriptor = _empty_file() if path is None else os.open(path, os.O_RDWR | os.O_TRUNC)
    write_all(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _empty_file() -> int:
    if not hasattr(os, "memfd_create"):
        import tempfile  # macOS; elsewhere its many imports would be a burden

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    with suppress(OSError):  # before Linux 6.3; after it a host may demand this
        return os.memfd_create("script", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    return os.memfd_create("script")


def _failed(status: int, reader: int, seconds: float, allowed: int) -> Record | None:
    """Return the record of a script's process that failed, with `killed` if neither it nor its limit on time ended it.

    The process may have written the reason to the pipe `reader`. None if it succeeded.
    """
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code == 0:
        return None
    # All processes that could write to it are dead.
    said = os.read(reader, 4096).decode("utf-8", "replace").split("\n") if exit_code == _FAILED else []
    if len(said) == 3 and said[0] in ("error", "memory"):
        reason, error, detail = said
        return failure(reason, printable(detail, 200), (printable(error, 100) or "''") if reason == "error" else None)
    return failure(*cause_of_death(exit_code, seconds, allowed)) | {"killed": was_killed(exit_code, seconds, allowed)}


def _record(failed: Record | None, output: bytes, most: int) -> Record:
    if len(output) > most:
        return failure("output_too_large", f"printed more than {most} bytes")
    if failed is not None:
        return failed
    try:
        return success(output.decode())
    except UnicodeDecodeError as error:
        return failure("unsupported_value", f"printed what is not UTF-8: {error.reason}")


# --- in the script's process -------------------------------------------------------------------------------------


def _enter(given: int, printed: int, closed: tuple[int | None, ...], supervisor: int) -> None:
    """Die with the supervisor, and have a standard input and output of this script's own."""
    die_with_parent()
    if os.getppid() != supervisor:
        os._exit(_FAILED)  # it died before
    os.dup2(given, 0)
    os.dup2(printed, 1)
    for descriptor in (given, printed, *closed):
        if descriptor is not None:
            os.close(descriptor)
    stdin = open(0, encoding="utf-8", errors="surrogatepass", closefd=False)  # noqa: SIM115
    stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]
    sys.argv = [_NAME]


def _be_script(code: types.CodeType, writer: int) -> Never:
    """Run the program and end this process as an interpreter would end."""
    module = types.ModuleType("__main__")
    module.__file__ = _NAME
    failed, _ = tried(frames_below() + 1 + TO_MODULE, _run, (code, module))
    if failed is None:
        os._exit(0)
    os.write(writer, "\n".join((failed["reason"], failed["error"] or "", failed["detail"])).encode())
    os._exit(_FAILED)


def _run(code: types.CodeType, module: types.ModuleType) -> None:
    """Run the program to its end, that of its threads included: the recursion limit holds for them too."""
    run_module(code, module, exits=True)
    _finish(module)


def _finish(module: types.ModuleType) -> None:
    """Do what the interpreter does at its end, as far as a program can tell; dropping its globals flushes its files."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    _flush(sys.stdout)
    if "_thread" not in sys.modules or not sys.modules["_thread"]._count():
        module.__dict__.clear()
    _flush(sys.__stdout__)


def _flush(stream: Any) -> None:
    if stream is not None and not getattr(stream, "closed", False):
        stream.flush()
