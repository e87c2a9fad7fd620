"""Scripts as contestants write them, as every backend that runs here has them scored."""

from __future__ import annotations

import pytest

from azr.sandbox import Job, Limits, Mode, Outcome, Sandbox
from tests.sandbox.scripts import SCRIPTS, Script

LIMITS = Limits(wall_seconds=30, cpu_seconds=10, memory_bytes=512 * 2**20)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
async def test_a_correct_script_prints_what_it_would_for_a_judge(script: Script, box: Sandbox) -> None:
    found = await box.run(Job(script.program, (script.given,), mode=Mode.SCRIPT, limits=LIMITS))
    assert found == (Outcome(script.printed),)


def test_there_are_enough_scripts_and_no_two_share_a_name() -> None:
    assert len({script.name for script in SCRIPTS}) == len(SCRIPTS) >= 30
