"""The Seatbelt backend on macOS, where the CI workflow runs this file: the doctor and every hostile program."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from azr.sandbox import Job, Sandbox, SeatbeltSandbox
from azr.sandbox.doctor import doctor
from tests.sandbox.hostile import SNIPPETS, Snippet
from tests.sandbox.test_hostile import ENVIRONMENT, ON_DISK, came_of

if sys.platform != "darwin":
    pytest.skip("Seatbelt is macOS's", allow_module_level=True)

OF_LINUX = {
    "fork by raw system calls",
    "raw system calls",
    "system calls of other ABIs",
    "executable memory",
    "mmap flood",
    "packets in the pipe for outcomes",
    "splice to the host",
}
"""Programs with numbers of Linux's system calls and flags, which mean something else on macOS."""

HARMLESS = {
    "a thousand threads": "Seatbelt has no rule for threads; they end with their process",
    "a thread pool": "the same",
    "leave the process group": "a call of a program is a session of its own, and a script is killed by its parent",
    "other roots": "changing the folder shows nothing that could not be read before",
    "environment of the C library": "Python's own settings; the secret is looked for below",
    "new code in C": "modules of Python's installation can be loaded",
    "priority and place": "a program may lower the priority of this user's processes",
    "signals by way of a pipe": "macOS names these commands by other numbers",
}
"""Programs whose value differs from Linux's, and why that is no escape."""


@pytest_asyncio.fixture(scope="module")
async def box() -> AsyncIterator[Sandbox]:
    made = SeatbeltSandbox(workers=2)
    yield made
    await made.close()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Make a file that anyone may read and write, so that what keeps programs out must be the jail."""
    path = tmp_path / "canary"
    path.write_text(ON_DISK)
    tmp_path.chmod(0o777)
    path.chmod(0o666)
    return path


def state(canary: Path) -> tuple[list[str], bytes]:
    return os.listdir(canary.parent), canary.read_bytes()


async def test_every_protection_holds(box: Sandbox) -> None:
    assert [check for check in await doctor(box) if not check.holds] == []


@pytest.mark.parametrize(
    "snippet", [one for one in SNIPPETS if one.name not in OF_LINUX], ids=lambda snippet: snippet.name
)
async def test_a_hostile_program_gets_nothing(
    snippet: Snippet, box: Sandbox, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZR_TEST_SECRET", ENVIRONMENT)
    before = state(canary)
    names = {"SECRET": "AZR_TEST_SECRET", "CANARY": canary, "SCRATCH": canary.parent, "HOST": os.getpid()}
    program = re.sub(r"\b6(?=[,)])", "3", snippet.program)  # the descriptor for outcomes
    for name, value in names.items():
        program = program.replace(name, str(value))

    (outcome,) = await box.run(Job(program, limits=snippet.limits))

    assert came_of(outcome) in snippet.expected or snippet.name in HARMLESS, outcome
    for secret in (ENVIRONMENT, ON_DISK):
        assert secret not in repr(outcome)
    assert state(canary) == before
    (honest,) = await box.run(Job("def f(x): return x + 1", ("41",)))
    assert honest.value == "42"
