"""Takes away from this interpreter what Python has on Linux only, so that an import that needs any of it fails."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import sys

_ABSENT = {
    os: (
        *("sched_getaffinity", "sched_setaffinity", "sched_getscheduler", "memfd_create", "MFD_CLOEXEC", "pidfd_open"),
        *("splice", "pipe2", "posix_fadvise", "posix_fallocate", "setxattr", "getxattr", "setresuid", "getresuid"),
        *("O_DIRECT", "O_PATH", "O_TMPFILE", "O_NOATIME", "eventfd", "unshare", "setns", "copy_file_range"),
    ),
    resource: ("prlimit", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING"),
    signal: (
        "pidfd_send_signal",
        "sigtimedwait",
        "sigwaitinfo",
        "SIGPWR",
        "SIGPOLL",
        "SIGSTKFLT",
        "SIGRTMIN",
        "SIGRTMAX",
    ),
    fcntl: ("F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_ADD_SEALS", "F_OFD_SETLK"),
    select: ("epoll",),
}


def become_a_mac() -> None:
    """Remove these names, and say that the platform is macOS."""
    for module, names in _ABSENT.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "darwin"
