"""Landlock: this process and all that it forks can read in one folder, and open nothing else.

Three raw system calls (Linux 5.13, man 7 landlock) that libc does not wrap.
"""

import ctypes
import os
import struct
from collections.abc import Collection

from azr.sandbox.guest.bpf import require

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Rights over files, by the ABI that added them: all of the first; linking across folders; truncating; ioctl."""
_NETWORK_RIGHTS = 0b11  # ABI 4: bind and connect over TCP
_SCOPES = 0b11  # ABI 6: abstract Unix sockets and signals to processes outside


def abi() -> int:
    """Return the version of Landlock that this kernel has; 0 for none."""
    return max(0, _syscall(_CREATE_RULESET, None, 0, _VERSION))


def restrict_to_reading(folder: int, *, hidden: Collection[str]) -> None:
    """Restrict this process to reading beneath a folder, an open descriptor. Needs no_new_privs.

    `hidden` names in it cannot be read; they can be listed, as imports have to list the folder.

    Raises:
        OSError: the kernel refuses.
    """
    version = abi()
    files = sum(rights for since, rights in _FILE_RIGHTS.items() if since <= version)
    attributes = struct.pack("=Q", files)
    if version >= 4:
        attributes += struct.pack("=Q", _NETWORK_RIGHTS)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = require(_syscall(_CREATE_RULESET, attributes, len(attributes), 0), "a Landlock ruleset")
    _allow(ruleset, _READ_DIR, folder)
    opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    for name in os.listdir(opened):
        if name not in hidden:
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=opened)
            _allow(ruleset, _READ_FILE, entry)
            os.close(entry)
    os.close(opened)
    require(_syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(ruleset: int, rights: int, beneath: int) -> None:
    rule = struct.pack("=Qi", rights, beneath)
    require(_syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), "a Landlock rule")


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    # Each as a long, so that the upper half of every register is defined.
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(_LIBC.syscall(ctypes.c_long(number), *converted))


_LIBC = ctypes.CDLL(None, use_errno=True)
