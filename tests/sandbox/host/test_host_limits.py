"""Limits that the host has put on itself: where they are too low, one line names the one that is."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
from azr.sandbox import Job, Limits, LocalSandbox, SandboxError
async def main():
    sandbox = LocalSandbox(workers=1, tier=sys.argv[1])
    try:
        print(*await sandbox.run(Job("def f(): return 'value'", determinism=True, limits=Limits(**eval(sys.argv[2])))))
    except SandboxError as error:
        print(error)
    await sandbox.close()
asyncio.run(main())
"""


def said(ulimit, tier, **limits):
    """Give what a sandbox in a process of its own gives under a limit: an outcome, or an error."""
    command = ["bash", "-c", f'{ulimit} && exec "$@"', "bash", sys.executable, "-c", PROGRAM, tier, repr(limits)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stderr == ""
    (line,) = found.stdout.splitlines()
    return line


@pytest.mark.parametrize("tier", ["auto", "full", "seccomp"])
@pytest.mark.parametrize(
    ("ulimit", "limits", "named"),
    [
        ("ulimit -t 3", {}, "a job may use 5 s of processor time and this machine's limit is 3 s"),
        ("ulimit -v 200000", {}, "KB of address space in each of its processes and the limit is 200000"),
        (
            "ulimit -v 500000",
            {"memory_bytes": 2**30},
            "a job may use 1048576 KB of memory and this machine's limit leaves",
        ),
        ("ulimit -n 40", {}, "needs 64 open files in each of its processes and the limit is 40"),
        ("ulimit -n 12", {}, "ulimit -n is 12"),
    ],
)
def test_a_limit_of_the_host_that_leaves_too_little_is_named_in_one_line(ulimit, limits, named, tier):
    assert named in said(ulimit, tier, **limits)


@pytest.mark.parametrize("tier", ["full", "seccomp"])
@pytest.mark.parametrize(
    ("ulimit", "limits"),
    [
        ("ulimit -t 30", {}),
        ("ulimit -t 3", {"cpu_seconds": 2}),
        ("ulimit -v 600000", {"memory_bytes": 2**26}),
        ("ulimit -n 64", {}),
    ],
)
def test_a_limit_of_the_host_that_leaves_enough_is_no_hindrance(ulimit, limits, tier):
    assert "'value'" in said(ulimit, tier, **limits)
