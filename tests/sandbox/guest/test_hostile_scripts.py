"""Every hostile script in each tier: what comes of it, that nothing is left, and that the next script is unharmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from azr.sandbox import Job, Limits, LocalSandbox, Mode, Reason
from tests.sandbox.hostile import Snippet
from tests.sandbox.hostile_scripts import SCRIPTS
from tests.sandbox.test_hostile import came_of, descendants

PROCESSES = 5
"""Of one worker that only runs scripts: a zygote with its guard and the child that waits for a job, a checker with its
guard."""


@pytest_asyncio.fixture(scope="module", params=["full", "seccomp"])
async def jail(request: pytest.FixtureRequest) -> AsyncIterator[tuple[LocalSandbox, set[int]]]:
    strangers = set(descendants())
    sandbox = LocalSandbox(workers=1, tier=request.param)
    yield sandbox, strangers
    await sandbox.close()
    assert set(descendants()) <= strangers


@pytest.mark.parametrize("snippet", SCRIPTS, ids=lambda snippet: snippet.name)
async def test_a_hostile_script_gets_nothing_and_leaves_nothing(
    snippet: Snippet, jail: tuple[LocalSandbox, set[int]]
) -> None:
    sandbox, strangers = jail
    (outcome,) = await sandbox.run(Job(snippet.program, mode=Mode.SCRIPT, limits=snippet.limits))
    assert came_of(outcome) in snippet.expected, outcome

    honest = "import threading\nthread = threading.Thread(target=lambda: print(input()))\nthread.start()\nthread.join()"
    found = await sandbox.run(Job(honest, ("a", "b"), mode=Mode.SCRIPT))
    assert [came_of(outcome) for outcome in found] == ["a\n", "b\n"]
    for _ in range(200):
        left = set(descendants()) - strangers
        if len(left) == PROCESSES:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"processes left: {left}")


def test_there_are_enough_hostile_scripts_and_no_two_share_a_name() -> None:
    assert len({snippet.name for snippet in SCRIPTS}) == len(SCRIPTS) >= 35


async def test_a_script_dies_with_its_supervisor_and_its_zygote_lives_on(jail: tuple[LocalSandbox, set[int]]) -> None:
    sandbox, strangers = jail
    limits = Limits(wall_seconds=0.3)
    for _ in range(10):  # where the machine is so busy that the host's clock comes first, another time
        await sandbox.run(Job("print(1)", mode=Mode.SCRIPT))
        before = set(descendants()) - strangers
        (outcome,) = await sandbox.run(Job("while True: pass", mode=Mode.SCRIPT, limits=limits))
        assert outcome.reason is Reason.TIMEOUT
        await sandbox.run(Job("print(1)", mode=Mode.SCRIPT))
        if len(before & set(descendants())) >= PROCESSES - 1:  # all but the child that waits for a job
            return
    raise AssertionError("the zygote had to be replaced each time")
