"""What the tests run in place of macOS's sandbox-exec: it takes the same arguments, and confines by Linux's means.

It holds what the profile says in the places that the tests look at: files by Landlock; sockets, signals, programs and
processes by a filter of system calls. It does not read the rules of the profile, so it says nothing about those.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SYSTEM = ("/lib", "/usr/lib", "/dev/urandom")
"""For `system.sb`: what any process needs."""
_READ, _WRITE, _LIST, _TRUNCATE = 1 << 2, 1 << 1, 1 << 3, 1 << 14
_REFUSED = (41, 53, 62, 200, 234, 59, 322, 57, 58, 157)
"""socket, socketpair, kill, tkill, tgkill, exec, fork and vfork, as the profile; prctl, which macOS does not have."""
_CLONE, _CLONE3, _CLONE_THREAD = 56, 435, 0x00010000


def install(folder: Path, *, confining: bool = True) -> str:
    """Write the command into a folder, and return its path. Without `confining` it only starts the interpreter."""
    path = folder / "sandbox-exec"
    path.write_text(
        f"#!{sys.executable} -S\nimport sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'src')!r}]\n"
        f"from tests.sandbox.seatbelt_stand_in import run\nrun(sys.argv[1:], confining={confining})\n"
    )
    path.chmod(0o755)
    return str(path)


def run(arguments: list[str], *, confining: bool) -> None:
    """Read the arguments of sandbox-exec, confine this process, and be the interpreter that they name."""
    assert arguments.pop(0) == "-p"
    profile, parameters = arguments.pop(0), {}
    while arguments[0] == "-D":
        name, _, value = arguments[1].partition("=")
        parameters[name] = value
        del arguments[:2]
    assert arguments[:4] == [os.path.realpath(sys.executable), "-s", "-S", "-c"]
    program = arguments[4]
    for name in list(sys.modules):
        if name.startswith(("tests", "azr")):
            del sys.modules[name]
    if confining:
        _confine(
            [*_SYSTEM, *(value for name, value in parameters.items() if name.startswith("READABLE"))],
            [value for name, value in parameters.items() if name.startswith("FILE")],
            forks="(allow process-fork)" in profile,
        )
    sys.path[:] = [path for path in sys.path if not path.startswith(str(ROOT))]
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def _confine(readable: list[str], files: list[str], *, forks: bool) -> None:
    from azr.sandbox.guest import bpf
    from azr.sandbox.jail import landlock

    bpf.no_new_privileges()
    handled = struct.pack("=Q", (1 << 13) - 1 | _TRUNCATE)
    ruleset = bpf.require(landlock._syscall(444, handled, len(handled), 0), "a ruleset")
    rights = dict.fromkeys(readable, _READ | _LIST) | dict.fromkeys(files, _READ | _WRITE | _TRUNCATE)
    for path, allowed in (rights | {"/dev/null": _READ | _WRITE}).items():
        possible = allowed if os.path.isdir(path) else allowed & ~_LIST
        landlock._allow(ruleset, possible, os.open(path, os.O_PATH))
    bpf.require(landlock._syscall(446, ruleset, 0), "Landlock")
    os.closerange(3, 64)
    refuse = bpf.step(bpf.RETURN, bpf.ERRNO | 1)
    code = bpf.opening(bpf.AUDIT["x86_64"])
    for number in _REFUSED:
        code += [bpf.step(bpf.JUMP_EQUAL, number, otherwise=1), refuse]
    code += [bpf.step(bpf.JUMP_EQUAL, _CLONE3, otherwise=1), bpf.step(bpf.RETURN, bpf.ERRNO | 38)]
    if not forks:
        threads = [bpf.step(bpf.LOAD, bpf.AT_ARGUMENTS), bpf.step(bpf.JUMP_ANY_BIT, _CLONE_THREAD, then=1), refuse]
        code += [bpf.step(bpf.JUMP_EQUAL, _CLONE, otherwise=3), *threads]
    bpf.install(b"".join([*code, bpf.step(bpf.RETURN, bpf.ALLOW)]))
