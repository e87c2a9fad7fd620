"""What jails a zygote: no privileges, namespaces, a root of its own, Landlock, limits, seccomp.

`zygote.py` calls these functions. The order matters; each function gives the reason for its place.
"""

import ctypes
import functools
import os
import resource
import signal
import sys
from collections.abc import Collection

from azr.sandbox.guest import bpf
from azr.sandbox.jail import landlock, seccomp

NOBODY = 65534
HOST_NAME = "sandbox"  # the machine's name, as programs see it
_NAMESPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""User, mount, pid, net, ipc, uts."""

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_KEPT = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME | os.ST_RELATIME
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def hide_host_name() -> None:
    """Hide the host's name from this process and its children.

    The full tier's UTS namespace keeps the host's name. So both tiers refuse the system call, and this interpreter's
    two functions for it return a fixed answer.
    """
    system, _, *rest = os.uname()
    shown = functools.partial(os.uname_result, (system, HOST_NAME, *rest))
    for module in ("os", "posix"):
        sys.modules[module].uname = shown  # type: ignore[attr-defined]


def drop_root() -> None:
    """Stop being root, before any namespace is made: the kernel's own root escapes RLIMIT_NPROC wherever it is mapped.

    Root of a user namespace without other users cannot become another user. That is as good, unless it is the kernel's
    own root, which is tried.

    Raises:
        OSError: this is the kernel's own root and may not change its user (no CAP_SETUID).
    """
    if os.getuid() != 0 and os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        if not _is_held_to_one_process():
            raise OSError(error.errno, f"root cannot become another user: {error.strerror}") from error


def _is_held_to_one_process() -> bool:
    """Whether RLIMIT_NPROC holds for this user."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            os.fork()
        except BlockingIOError:
            status = 0
        finally:
            os._exit(status)  # the grandchild too, where there is one
    return os.waitpid(child, 0)[1] == 0


def unshare() -> None:
    """Leave every namespace of the host; processes forked from now on are in a new pid namespace.

    Raises:
        OSError: the kernel or a container's policy refuses.
    """
    user, group = os.geteuid(), os.getegid()
    # A change of user makes a process undumpable, and its own files in /proc unwritable to itself.
    _prctl(_PR_SET_DUMPABLE, 1)
    bpf.require(_LIBC.unshare(_NAMESPACES), "namespaces")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def change_root(hidden: Collection[str], *, scratch: str = "/tmp") -> None:
    """Reduce the file system to the working directory, at its own path and read-only.

    The source is the working directory and not a path, because the user nobody may be unable to walk that path.
    `hidden` folders in it are covered with empty ones. The new root is mounted over `scratch`, any folder that exists.
    """
    target = scratch + os.getcwd()
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("none", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "size=64k,mode=755")
    os.makedirs(target)
    # Recursive, or the kernel refuses: it could uncover what is mounted over.
    _mount(".", target, None, _MS_BIND | _MS_REC)
    for folder in hidden:
        if os.path.isdir(os.path.join(target, folder)):
            _mount("none", os.path.join(target, folder), "tmpfs", _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "size=4k")
    kept = os.statvfs(target).f_flag & _KEPT  # flags of the mount underneath cannot be removed
    _mount("none", target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | kept)
    _mount("none", scratch, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    os.chdir(scratch)
    bpf.require(_LIBC.syscall(ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b"."), "pivot_root")
    bpf.require(_LIBC.umount2(b".", _MNT_DETACH), "unmounting the old root")
    os.chdir("/")


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def number_children(seed: int) -> range | None:
    """Give children of zygotes with odd and with even seeds different process ids: the lower and the upper half.

    Each zygote is the first process of a pid namespace, so both children of a determinism pair could otherwise have the
    same id. This takes capabilities over the namespace.

    Returns:
        the ids that children may have; None if /proc/sys is read-only, as in many containers.
    """
    try:
        with open("/proc/sys/kernel/pid_max") as file:
            end = int(file.read())
        if seed % 2:
            return range(2, end // 2)
        _write("/proc/sys/kernel/ns_last_pid", str(end // 2 - 1))
    except OSError:
        return None
    return range(end // 2, end)


def limit_files(descriptors: int, *, growing: bool) -> None:
    """Forbid core dumps, limit descriptors and, unless `growing`, forbid files to grow."""
    if not growing:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def shut(folder: int, *, hidden: Collection[str], splice_from: int, splice_to: int, scripts: bool) -> int:
    """Restrict this process, for good, to reading beneath a folder and to the listed system calls.

    The arguments are those of `landlock.restrict_to_reading` and `seccomp.conditions`. Returns the version of Landlock
    in force; 0 if the kernel has none.
    """
    rules = seccomp.conditions(splice_from=splice_from, splice_to=splice_to, scripts=scripts)
    code = seccomp.assemble(seccomp.MACHINES[bpf.this_machine()], rules, scripts=scripts)
    # Every capability, also over the zygote's own namespaces. Version 3, this process.
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    bpf.require(_LIBC.capset(ctypes.byref(header), ctypes.byref(none)), "dropping capabilities")
    bpf.no_new_privileges()
    version = landlock.abi()
    if version:
        landlock.restrict_to_reading(folder, hidden=hidden)
    # Undumpable: another process of the same user cannot open its descriptors or memory in /proc.
    _prctl(_PR_SET_DUMPABLE, 0)
    # After every change of credentials, which clears it.
    die_with_parent()
    bpf.install(code)
    return version


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    _prctl(seccomp.PR_SET_PDEATHSIG, how)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    bpf.require(_LIBC.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    result = _LIBC.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    bpf.require(result, f"mount on {target}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
