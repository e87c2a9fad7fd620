"""The filter, judged by libseccomp's numbers and by an interpreter of BPF that is written for this test alone."""

import errno
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.sandbox.guest import threads
from azr.sandbox.jail.seccomp import MACHINES, assemble, conditions

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
RULES = conditions(splice_from=5, splice_to=4, scripts=False)
FOR_SCRIPTS = conditions(splice_from=5, splice_to=4, scripts=True)
FORK = 0x01200000 | signal.SIGCHLD
THREAD = 0x003D0F00


def verdict(machine, number, *arguments, audit=None, code=None):
    """Run a filter on one system call, as the kernel would: that of the jail, or another."""
    code = list(struct.iter_unpack("=HBBI", code or assemble(machine, RULES, scripts=False)))
    padded = [argument & 2**64 - 1 for argument in arguments] + [0] * (6 - len(arguments))
    data = struct.pack("=IIQ6Q", number & 2**32 - 1, audit or machine.audit, 0, *padded)
    at = accumulator = 0
    while True:
        operation, then, otherwise, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:
                at += then if accumulator == value else otherwise
            case 0x45:
                at += then if accumulator & value else otherwise
            case 0x35:
                at += then if accumulator >= value else otherwise
            case 0x06:
                return value
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


@pytest.fixture(params=sorted(MACHINES))
def machine(request):
    return MACHINES[request.param]


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_numbers_are_those_of_libseccomp(name):
    judge = pytest.importorskip("pyseccomp", exc_type=(ImportError, RuntimeError))
    architecture = {"x86_64": judge.Arch.X86_64, "aarch64": judge.Arch.AARCH64}[name]
    assert MACHINES[name].numbers == {
        call: judge.resolve_syscall(architecture, call) for call in MACHINES[name].numbers
    }
    for numbers in (MACHINES[name].supervising, threads.CALLS[name].refused):
        assert numbers == {call: judge.resolve_syscall(architecture, call) for call in numbers}
    for call in ("clone", "clone3", "prctl"):
        assert getattr(threads.CALLS[name], call) == judge.resolve_syscall(architecture, call)


def test_every_listed_call_without_conditions_is_allowed(machine):
    for name, number in machine.numbers.items():
        if name not in RULES and name != "clone3":
            assert verdict(machine, number) == ALLOW, name


@given(st.sampled_from(sorted(MACHINES)), st.integers(0, 0x3FFFFFFF), st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_whatever_is_not_listed_is_refused_with_any_arguments(name, number, arguments):
    if number not in MACHINES[name].numbers.values():
        assert verdict(MACHINES[name], number, *arguments) == EPERM


def test_calls_of_another_architecture_end_the_process(machine):
    for other in MACHINES.values():
        if other is not machine:
            assert verdict(machine, machine.numbers["read"], audit=other.audit) == KILL
    assert verdict(machine, 0x40000000) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (FORK,), ALLOW),
        ("clone", (FORK | 0x10000,), EPERM),  # CLONE_THREAD
        ("clone", (THREAD,), EPERM),
        ("clone", (0x10000000 | signal.SIGCHLD,), EPERM),  # CLONE_NEWUSER
        ("clone", (signal.SIGCHLD,), EPERM),
        ("clone3", (0,), ENOSYS),
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 7), EPERM),
        ("mmap", (0, 4096, 4), EPERM),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 5), EPERM),
        ("openat", (-100, 0, 0o2000000), ALLOW),  # O_CLOEXEC
        ("openat", (-100, 0, 1), EPERM),
        ("openat", (-100, 0, 2), EPERM),
        ("openat", (-100, 0, 0o100), EPERM),  # O_CREAT
        ("openat", (-100, 0, 0o20200002), EPERM),  # O_TMPFILE
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (1, 7), EPERM),
        ("fcntl", (3, 1), ALLOW),  # F_GETFD
        ("fcntl", (3, 4, 0o40000), EPERM),  # F_SETFL
        ("fcntl", (3, 8), EPERM),  # F_SETOWN
        ("fcntl", (3, 10), EPERM),  # F_SETSIG
        ("fcntl", (3, 1031), EPERM),  # F_SETPIPE_SZ
        ("pipe2", (0, 0o2004000), ALLOW),  # O_CLOEXEC, O_NONBLOCK
        ("pipe2", (0, 0o2040000), EPERM),  # with O_DIRECT
        ("pipe2", (0, 0o200), EPERM),  # O_NOTIFICATION_PIPE
        ("ioctl", (3, 0x541B), ALLOW),  # FIONREAD
        ("ioctl", (3, 0x5412), EPERM),  # TIOCSTI
        ("prctl", (1, 9), ALLOW),  # PR_SET_PDEATHSIG, SIGKILL
        ("prctl", (1, 0), EPERM),
        ("prctl", (4, 1), EPERM),  # PR_SET_DUMPABLE
        ("splice", (5, 0, 4), ALLOW),
        ("splice", (5, 0, 6), EPERM),
        ("splice", (3, 0, 4), EPERM),
        ("sched_getaffinity", (0,), ALLOW),
        ("sched_getaffinity", (1,), EPERM),
    ],
)
def test_conditions_on_arguments(machine, name, arguments, expected):
    assert verdict(machine, machine.numbers[name], *arguments) == expected


def test_the_filter_is_one_that_the_kernel_takes(machine):
    for code in (assemble(machine, FOR_SCRIPTS, scripts=True), threads.assemble(name_of(machine))):
        assert len(code) % 8 == 0
        assert len(code) // 8 <= 4096


def name_of(machine):
    return next(name for name, other in MACHINES.items() if other is machine)


@pytest.mark.parametrize(
    ("call", "arguments", "supervisor", "script"),
    [
        ("clone", (FORK,), ALLOW, EPERM),
        ("clone", (THREAD,), ALLOW, ALLOW),
        ("clone", (0x10000000 | signal.SIGCHLD,), EPERM, EPERM),  # CLONE_NEWUSER
        ("clone", (signal.SIGCHLD,), EPERM, EPERM),
        ("clone", (0x4100,), EPERM, EPERM),  # CLONE_VFORK, CLONE_VM
        ("clone3", (0,), ENOSYS, ENOSYS),
        ("prctl", (1, 9), ALLOW, EPERM),  # PR_SET_PDEATHSIG
        ("prctl", (1, 0), EPERM, EPERM),
        ("seccomp", (1, 0), ALLOW, EPERM),
        ("seccomp", (1, 8), EPERM, EPERM),  # SECCOMP_FILTER_FLAG_NEW_LISTENER
        ("seccomp", (0, 0), EPERM, EPERM),  # SECCOMP_SET_MODE_STRICT
        ("memfd_create", (0, 0), ALLOW, EPERM),
        ("read", (0,), ALLOW, ALLOW),
    ],
)
def test_a_supervisor_may_fork_and_filter_and_a_script_may_only_have_threads(
    machine, call, arguments, supervisor, script
):
    number = (machine.numbers | machine.supervising)[call]
    outer = verdict(machine, number, *arguments, code=assemble(machine, FOR_SCRIPTS, scripts=True))
    inner = verdict(machine, number, *arguments, code=threads.assemble(name_of(machine)))
    assert outer == supervisor
    # Of two filters the stricter counts; of two that refuse, the one that was put on last.
    assert (outer if inner == ALLOW else inner) == script


@given(st.sampled_from(sorted(MACHINES)), st.integers(0, 2**32 - 1))
def test_no_clone_without_clone_thread_gets_past_the_filter_for_scripts(name, flags):
    found = verdict(MACHINES[name], threads.CALLS[name].clone, flags, code=threads.assemble(name))
    assert found == (ALLOW if flags & 0x10000 else EPERM)


def test_every_way_to_fork_that_a_machine_has_is_refused_to_scripts():
    assert {"fork", "vfork"} <= set(threads.CALLS["x86_64"].refused)
    for name in MACHINES:
        for number in threads.CALLS[name].refused.values():
            assert verdict(MACHINES[name], number, code=threads.assemble(name)) == EPERM


def test_calls_of_supervisors_are_refused_where_there_are_none(machine):
    for number in machine.supervising.values():
        assert verdict(machine, number, 1, 0) == EPERM
