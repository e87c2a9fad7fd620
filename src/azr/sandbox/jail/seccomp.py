"""The allow-list of system calls, and the BPF program that enforces it.

Everything else fails with EPERM: sockets, exec, kill, ptrace, io_uring, memfd, chmod, mkdir, ... The list has what
CPython commonly calls on Linux. `docs/decisions/0002-seccomp-by-hand.md` explains why the numbers are written down
here; the tests check the numbers and the filter with libseccomp.
"""

import errno
import fcntl
import mmap
import os
import signal
import termios
from typing import NamedTuple

from azr.sandbox.guest import bpf

PR_SET_PDEATHSIG = 1

_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_CHILD_SETTID = 0x01000000
_FORK = signal.SIGCHLD | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID  # the flags with which glibc forks
_THREAD = 0x003D0F00
"""The flags with which glibc makes a thread: CLONE_ VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID and
CHILD_CLEARTID. Any other clone makes a namespace, or something in between."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (os.O_TMPFILE & ~os.O_DIRECTORY)


class Condition(NamedTuple):
    """A test of one argument: it must be one of `values`, or have none of the bits of `clear`."""

    argument: int
    values: tuple[int, ...] = ()
    clear: int = 0


class Machine(NamedTuple):
    """The system calls of a processor architecture, by number."""

    audit: int
    numbers: dict[str, int]
    supervising: dict[str, int]
    """Calls that only supervisors of scripts may make. Scripts cannot make them: see `threads.py`."""


_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "newfstatat": 262, "stat": 4, "lstat": 6, "statx": 332, "lseek": 8,
    "mmap": 9, "mprotect": 10, "munmap": 11, "mremap": 25, "madvise": 28, "brk": 12, "futex": 202,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigpending": 127, "sigaltstack": 131,
    "exit": 60, "exit_group": 231, "restart_syscall": 219, "open": 2, "openat": 257, "access": 21, "faccessat": 269,
    "faccessat2": 439, "readlink": 89, "readlinkat": 267, "getdents64": 217, "getcwd": 79, "pread64": 17, "readv": 19,
    "writev": 20, "poll": 7, "ppoll": 271, "select": 23, "pselect6": 270, "dup": 32, "dup2": 33, "dup3": 292,
    "pipe2": 293, "fcntl": 72, "ioctl": 16, "clone": 56, "clone3": 435, "wait4": 61, "waitid": 247, "prctl": 157,
    "prlimit64": 302, "getrlimit": 97, "set_tid_address": 218, "set_robust_list": 273, "rseq": 334,
    "close_range": 436, "splice": 275, "getpid": 39, "gettid": 186, "getppid": 110, "getpgrp": 111, "getuid": 102,
    "geteuid": 107, "getgid": 104, "getegid": 108, "getgroups": 115, "sched_getaffinity": 204, "sched_yield": 24,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "nanosleep": 35, "gettimeofday": 96, "time": 201,
    "times": 100, "getrusage": 98, "getitimer": 36, "setitimer": 38, "alarm": 37, "getrandom": 318,
    "sysinfo": 99,
}  # fmt: skip

_AARCH64 = {
    "read": 63, "write": 64, "close": 57, "fstat": 80, "newfstatat": 79, "statx": 291, "lseek": 62, "mmap": 222,
    "mprotect": 226, "munmap": 215, "mremap": 216, "madvise": 233, "brk": 214, "futex": 98, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "rt_sigpending": 136, "sigaltstack": 132, "exit": 93, "exit_group": 94,
    "restart_syscall": 128, "openat": 56, "faccessat": 48, "faccessat2": 439, "readlinkat": 78, "getdents64": 61,
    "getcwd": 17, "pread64": 67, "readv": 65, "writev": 66, "ppoll": 73, "pselect6": 72, "dup": 23, "dup3": 24,
    "pipe2": 59, "fcntl": 25, "ioctl": 29, "clone": 220, "clone3": 435, "wait4": 260, "waitid": 95, "prctl": 167,
    "prlimit64": 261, "getrlimit": 163, "set_tid_address": 96, "set_robust_list": 99, "rseq": 293, "close_range": 436,
    "splice": 76, "getpid": 172, "gettid": 178, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
    "getegid": 177, "getgroups": 158, "sched_getaffinity": 123, "sched_yield": 124, "clock_gettime": 113,
    "clock_getres": 114, "clock_nanosleep": 115, "nanosleep": 101, "gettimeofday": 169, "times": 153, "getrusage": 165,
    "getitimer": 102, "setitimer": 103, "getrandom": 278, "sysinfo": 179,
}  # fmt: skip

MACHINES = {
    "x86_64": Machine(bpf.AUDIT["x86_64"], _X86_64, {"seccomp": bpf.SECCOMP["x86_64"], "memfd_create": 319}),
    "aarch64": Machine(bpf.AUDIT["aarch64"], _AARCH64, {"seccomp": bpf.SECCOMP["aarch64"], "memfd_create": 279}),
}

_REFUSED_AS_UNKNOWN = frozenset({"clone3"})
"""Calls for which libc falls back on an older one, but only if the kernel does not know them."""


def conditions(*, splice_from: int, splice_to: int, scripts: bool) -> dict[str, tuple[Condition, ...]]:
    """Return the conditions under which some of the calls are allowed.

    The zygote moves a child's payload from `splice_from` to `splice_to`, which the child has closed. With `scripts`,
    children supervise scripts, which may have threads.
    """
    itself_only = (Condition(0, values=(0,)),)
    commands = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
    return {
        "clone": (Condition(0, values=(_FORK, _THREAD) if scripts else (_FORK,)),),
        # No page becomes executable after the jail is shut.
        "mmap": (Condition(2, clear=mmap.PROT_EXEC),),
        "mprotect": (Condition(2, clear=mmap.PROT_EXEC),),
        "open": (Condition(1, clear=_WRITING),),
        "openat": (Condition(2, clear=_WRITING),),
        # Limits of another process of the same user could be lowered until it dies.
        "prlimit64": itself_only,
        "sched_getaffinity": itself_only,
        # F_SETOWN and F_SETSIG would make the kernel send any signal to any process of the same user; F_SETFL would
        # change the pipe for outcomes for every child that comes later.
        "fcntl": (Condition(1, values=commands),),
        # O_DIRECT makes packets, of which a reader with too little room loses the rest: the host would take a part of
        # the next child's bytes for the end of this one's.
        "pipe2": (Condition(1, clear=~(os.O_CLOEXEC | os.O_NONBLOCK)),),
        "ioctl": (Condition(1, values=(termios.FIONREAD, termios.FIOCLEX, termios.FIONCLEX, termios.TCGETS)),),
        # A child may only ask to die with its zygote, never take it back.
        "prctl": (Condition(0, values=(PR_SET_PDEATHSIG,)), Condition(1, values=(signal.SIGKILL,))),
        "splice": (Condition(0, values=(splice_from,)), Condition(2, values=(splice_to,))),
        # Another filter and nothing else: no descriptor that decides about calls, no action on other threads.
        "seccomp": (Condition(0, values=(bpf.SET_MODE_FILTER,)), Condition(1, values=(0,))),
    }


# --- from the list to BPF ----------------------------------------------------------------------------------------


def assemble(machine: Machine, rules: dict[str, tuple[Condition, ...]], *, scripts: bool) -> bytes:
    """Write the filter as an array of `struct sock_filter`.

    `rules` are those of `conditions`. With `scripts`, the calls of `Machine.supervising` are allowed too. A call of
    another architecture ends the process.
    """
    refuse = bpf.step(bpf.RETURN, bpf.ERRNO | errno.EPERM)
    code = bpf.opening(machine.audit)
    for name, number in (machine.numbers | (machine.supervising if scripts else {})).items():
        if name in _REFUSED_AS_UNKNOWN:
            body = [bpf.step(bpf.RETURN, bpf.ERRNO | errno.ENOSYS)]
        else:
            body = [step for condition in rules.get(name, ()) for step in _test(condition, refuse)]
            body.append(bpf.step(bpf.RETURN, bpf.ALLOW))
        code += [bpf.step(bpf.JUMP_EQUAL, number, otherwise=len(body)), *body]
    return b"".join([*code, refuse])


def _test(condition: Condition, refuse: bytes) -> list[bytes]:
    """Write the test of one argument's lower half; the kernel ignores the upper half of all that are tested."""
    load = bpf.step(bpf.LOAD, bpf.AT_ARGUMENTS + 8 * condition.argument)
    if condition.clear:
        return [load, bpf.step(bpf.JUMP_ANY_BIT, condition.clear, otherwise=1), refuse]
    last = len(condition.values) - 1
    tests = [bpf.step(bpf.JUMP_EQUAL, value, then=last - i + 1) for i, value in enumerate(condition.values)]
    return [load, *tests, refuse]
