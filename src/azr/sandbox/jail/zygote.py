"""The zygote: a small warm interpreter that jails itself, then forks one child per job until there are no more jobs.

Jobs come in on one descriptor and reports go out on another. Each child writes its outcomes to a pipe whose reading end
it does not hold. The zygote reads no job, so no later child can find one in its memory, and no payload: it counts the
bytes and has the kernel move them.
"""

import fcntl
import gc
import json
import os
import resource
import select
import signal
import struct
import sys
import termios
from typing import Any

from azr.sandbox.guest import census, checker
from azr.sandbox.guest.preload import Absent, find_library_at, rehearse, warm_up
from azr.sandbox.guest.process import address_space as own_address_space
from azr.sandbox.guest.process import read_exactly, reap_children
from azr.sandbox.guest.wire import HEADER, LENGTH, NONCE_BYTES, pack_outcome, unpack_job
from azr.sandbox.guest.worker import outcomes
from azr.sandbox.jail import namespaces as jail
from azr.sandbox.jail.rlimits import LimitError, what_is_left

JOBS, RESULTS, PAYLOAD_READ, PAYLOAD_WRITE, _FOLDER = range(3, 8)
"""Descriptors: the first four come from `spawn.py`; the last, opened here, is the standard library's folder."""

_DESCRIPTORS = 64
_STDLIB = os.path.dirname(os.__file__)
_HIDDEN = ("site-packages", "dist-packages", "test")
"""Folders in it that programs must not read: this package may be installed there, with held-out answers."""

_NO_MORE_JOBS = 3
"""The exit status of a child that found no more jobs. Any program can exit with it, so the zygote checks."""

_SCRIPT_KILLED = 5
"""The exit status of a supervisor whose script was killed by others, which the host sees as the supervisor's own death.
No process in the jail can kill, and only our own code can end a supervisor with a status."""


def main(kind: str, tier: str, cpu: int | None, seed: int) -> None:
    """Be a zygote: return when there are no more jobs, or when the jail cannot be built.

    Args:
        kind: "full" has the modules of the standard library that programs use; "lean" has few and so a cheaper fork;
            "script" is full, and its children supervise scripts; "checker" does not fork but checks programs.
        tier: "full" or "seccomp".
        cpu: the processor to stay on; a zygote that moves loses half its speed to cold caches.
        seed: of the `random` module: a program that does not seed it draws the same in every child of this zygote, and
            something else in a zygote with another seed.
    """
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        jail.hide_host_name()  # before any module asks for it and remembers
        warm_up(kind, seed)
        address_space = own_address_space()
        least = checker.MEMORY_BYTES if kind == "checker" else 0
        limits = what_is_left(descriptors=_DESCRIPTORS, address_space=address_space, memory_bytes=least)
        os.chdir(_STDLIB)  # an ordinary user may be unable to walk its path
        jail.drop_root()
        if tier == "full":
            jail.unshare()
        guard = _leave_guard()
        scripts = None
        if kind == "script":
            jail.adopt_orphans()  # scripts whose supervisors die
            scripts = census.take(alone=tier == "full")
        numbers = jail.number_children(seed) if tier == "full" else None
        rehearse()
        if tier == "full":
            jail.change_root(_HIDDEN)
        hello = _shut_in(tier, scripts=scripts is not None) | limits
        _end_without(guard)
    except LimitError as error:
        hello = {"refused": str(error), "limit": True}
    except (OSError, ValueError) as error:
        hello = {"refused": str(error)}
    os.write(RESULTS, json.dumps(hello).encode() + b"\n")
    if "refused" in hello:
        return
    if kind == "checker":
        os.closerange(PAYLOAD_READ, PAYLOAD_WRITE + 1)  # it has no children
        checker.serve(JOBS, RESULTS, address_space)
    else:
        if kind == "lean":
            sys.meta_path[:] = [Absent]
        _serve(address_space, numbers, orphans=tier != "full", scripts=scripts)


def _leave_guard() -> int:
    """Continue as a child of this process, the guard, which stays outside the jail, kills us on SIGTERM and reaps us.

    Without it, orphans would go to the first process of the host, which in a container may not reap them. Returns a
    descriptor that becomes readable when the guard dies.
    """
    jail.adopt_orphans()
    opened = os.pidfd_open(os.getpid())
    guard = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _FOLDER + 1)
    os.close(opened)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        jail.die_with_parent()
        return guard
    os.closerange(JOBS, _DESCRIPTORS)
    # The number of a group that is not empty is not given away, so this can hit nobody else.
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(child, signal.SIGKILL))
    jail.die_with_parent(signal.SIGTERM)
    reap_children()
    os._exit(0)


def _end_without(guard: int) -> None:
    """End if the guard is dead: it may have died before we asked the kernel to die with it."""
    poll = select.poll()
    poll.register(guard, select.POLLIN)
    if poll.poll(0):
        os._exit(1)
    os.close(guard)


def _shut_in(tier: str, *, scripts: bool) -> dict[str, Any]:
    """Jail this process, and say which protections hold."""
    room = fcntl.fcntl(PAYLOAD_WRITE, fcntl.F_GETPIPE_SZ)
    reachable = os.access(_STDLIB, os.R_OK | os.X_OK)
    folder = os.open(_STDLIB if reachable else ".", os.O_PATH | os.O_DIRECTORY)
    if folder != _FOLDER:
        os.dup2(folder, _FOLDER, inheritable=False)
        os.close(folder)
    jail.limit_files(_DESCRIPTORS, growing=scripts)
    version = jail.shut(_FOLDER, hidden=_HIDDEN, splice_from=PAYLOAD_READ, splice_to=RESULTS, scripts=scripts)
    if not version and tier != "full":
        raise OSError("this kernel has no Landlock")
    if reachable:
        os.close(_FOLDER)  # no program needs it, so none gets it
    else:
        find_library_at(f"/proc/self/fd/{_FOLDER}")
    return {"tier": tier, "landlock": version, "room": room}


def _serve(address_space: int, numbers: range | None, *, orphans: bool, scripts: census.Census | None) -> None:
    """Fork a child for each job, before the job arrives: a fork takes longer than many programs.

    When the process ids `numbers` are used up, this process ends and is replaced. `orphans` says whether a child would
    outlive this process; in a pid namespace it cannot.
    """
    gc.freeze()  # or a child's first collection would touch, and so copy, every page
    zygote = os.getpid() if orphans else 0
    jobs = select.poll()
    jobs.register(JOBS, select.POLLIN)
    while True:
        child = os.fork()
        if child == 0:
            exit_code = 1
            try:
                exit_code = _do_job(address_space, zygote, scripts)
            finally:
                os._exit(exit_code)
        _, status, usage = os.wait4(child, 0)
        if status == _NO_MORE_JOBS << 8 and jobs.poll(0) == [(JOBS, select.POLLHUP)]:
            return
        if status and scripts is not None:
            reap_children()  # the script of a supervisor that died, which was killed by that; no job runs beside it
            if status == _SCRIPT_KILLED << 8:
                status = signal.SIGKILL
        waiting = struct.unpack("=i", fcntl.ioctl(PAYLOAD_READ, termios.FIONREAD, b"0000"))[0]
        os.write(RESULTS, HEADER.pack(status, waiting, usage.ru_utime + usage.ru_stime))
        while waiting:
            waiting -= os.splice(PAYLOAD_READ, RESULTS, waiting)
        if numbers is not None and child + 1 not in numbers:
            return


def _do_job(address_space: int, zygote: int, scripts: census.Census | None) -> int:
    """Read one job, close every way to another's, and run it; return the exit status.

    `zygote` is the parent to die with; 0 in a pid namespace, which ends with it. With `scripts`, this process only
    supervises; without, the program runs in it.
    """
    if zygote:
        jail.die_with_parent()
        if os.getppid() != zygote:
            return 1  # it died before the kernel was told
    os.close(RESULTS)
    os.close(PAYLOAD_READ)
    header = read_exactly(JOBS, NONCE_BYTES + LENGTH.size)
    if not header:
        return _NO_MORE_JOBS
    body = read_exactly(JOBS, LENGTH.unpack_from(header, NONCE_BYTES)[0])
    os.close(JOBS)
    os.write(PAYLOAD_WRITE, header[:NONCE_BYTES])
    request = unpack_job(body)
    del body  # or it would count against the program's memory
    _limit(request, address_space)
    if scripts is None:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    else:
        request |= {"payload": PAYLOAD_WRITE, "processes": scripts.limit()}
    for record in outcomes(request):
        if scripts is not None and record.get("killed"):
            return _SCRIPT_KILLED
        os.write(PAYLOAD_WRITE, pack_outcome(record))
    return 0


def _limit(request: dict[str, Any], address_space: int) -> None:
    """Limit this child. Only one process runs a program, so limits on a process are limits on the job."""
    memory = address_space + request["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # The kernel sends SIGXCPU at the soft limit, which can be ignored, and SIGKILL at the hard one.
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_seconds"], request["cpu_seconds"]))
    # The host has a clock too, for programs that stop this one, but can only kill a child together with its zygote.
    signal.setitimer(signal.ITIMER_REAL, request["wall_seconds"])
