"""Every hostile program in each tier: what comes of it, and that nothing else does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from azr.sandbox import Job, LocalSandbox, Outcome
from tests.sandbox.hostile import SNIPPETS, Snippet

ENVIRONMENT, ON_DISK, OTHER_JOB, ANSWER = (
    "secret-of-the-environment",
    "secret-on-disk",
    "other-job-data",
    "answer-key-data",
)
PROCESSES = 8
"""Of one worker: two zygotes, each with its guard and the child that waits for a job, and a checker with its guard."""


@dataclass
class Place:
    """A jail of one worker, and what a program must not touch around it."""

    sandbox: LocalSandbox
    scratch: Path
    strangers: list[int]
    """Processes that other tests have left to this one."""

    @property
    def canary(self) -> Path:
        return self.scratch / "canary"


@pytest_asyncio.fixture(scope="module", params=["full", "seccomp"])
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    os.environ["AZR_TEST_SECRET"] = ENVIRONMENT
    scratch = tmp_path_factory.mktemp("scratch")
    scratch.chmod(0o777)  # what keeps programs out must be the jail
    sandbox = LocalSandbox(workers=1, tier=request.param)
    place = Place(sandbox, scratch, descendants())
    place.canary.write_text(ON_DISK)
    place.canary.chmod(0o666)
    await sandbox.run(Job("import signal"))  # so that the full zygote is there from the beginning
    yield place
    await sandbox.close()
    del os.environ["AZR_TEST_SECRET"]
    assert descendants() == place.strangers


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.name)
async def test_a_hostile_program_gets_nothing_and_leaves_nothing(snippet: Snippet, place: Place) -> None:
    await place.sandbox.run(Job("def f(x): return x * 9", (repr(OTHER_JOB),)))
    before = (os.listdir(place.scratch), place.canary.read_bytes(), place.canary.stat())

    (outcome,) = await place.sandbox.run(Job(filled(snippet.program, place), limits=snippet.limits))

    assert came_of(outcome) in snippet.expected, outcome
    for secret in (ENVIRONMENT, ON_DISK, OTHER_JOB, ANSWER):
        assert secret not in repr(outcome)
    assert (os.listdir(place.scratch), place.canary.read_bytes(), place.canary.stat()) == before
    honest = await place.sandbox.run(Job("def f(x): return x + 1", ("41", "'a'")))
    assert [came_of(one) for one in honest] == ["42", "TypeError"]
    await only_the_zygotes_are_left(place)


def test_there_are_enough_hostile_programs_and_no_two_share_a_name() -> None:
    assert len({snippet.name for snippet in SNIPPETS}) == len(SNIPPETS) >= 80


def filled(program: str, place: Place) -> str:
    """Put the names of this machine in."""
    names = {"SECRET": "AZR_TEST_SECRET", "CANARY": place.canary, "SCRATCH": place.scratch, "HOST": os.getpid()}
    for name, value in names.items():
        program = program.replace(name, str(value))
    return program


def came_of(outcome: Outcome) -> str:
    """Give an outcome as one word: its value, its reason, or the error's class."""
    return outcome.error or outcome.reason or str(outcome.value)


async def only_the_zygotes_are_left(place: Place) -> None:
    """Wait until what was killed is gone, and see that no other process is there."""
    for _ in range(200):
        if len(set(descendants()) - set(place.strangers)) == PROCESSES:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"processes left: {descendants()}")


def descendants(of: int | None = None) -> list[int]:
    """Give the processes that stem from a process, or from this one."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    root = of or os.getpid()
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family - {root})
