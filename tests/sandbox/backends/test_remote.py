"""The remote backend against a real server process: faults, bounds, and what a server may do to an answer."""

from __future__ import annotations

import asyncio
import logging

import pytest

from azr.sandbox import Job, Limits, Outcome, Reason, RemoteSandbox, SandboxError
from tests.sandbox.containers import asked, fusion_server

ONE = Job("def f(x): return x + 1", ("1",))


async def run_all(url: str, *jobs: Job, connections: int = 8, attempts: int = 4) -> list[Outcome]:
    """Run jobs of one input each at once."""
    box = RemoteSandbox(url=url, workers=connections, attempts=attempts, backoff_seconds=0.01)
    try:
        return [outcome for (outcome,) in await asyncio.gather(*(box.run(job) for job in jobs))]
    finally:
        await box.close()


async def failure(url: str, attempts: int = 2) -> str:
    """Give the message of a run that must fail: one line."""
    with pytest.raises(SandboxError) as error:
        await run_all(url, ONE, attempts=attempts)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("fault", ["drop", "500", "503", "429", "error"])
async def test_a_passing_fault_is_met_with_another_attempt(fault: str) -> None:
    with fusion_server("--faults", fault, fault, fault) as url:
        assert await run_all(url, ONE) == [Outcome("2")]


async def test_gives_up_after_the_last_attempt() -> None:
    with fusion_server("--faults", *["503"] * 9) as url:
        assert await failure(url) == (
            f"no sandbox server answers ({url}: status 503); start one with azr sandbox serve, or check sandbox.url"
        )


async def test_says_what_the_server_says_of_its_own_failure() -> None:
    with fusion_server("--faults", *["error"] * 9) as url:
        assert "the server says: no space left" in await failure(url)


async def test_says_that_no_server_is_there() -> None:
    with fusion_server() as url:
        pass
    assert f"no sandbox server answers ({url}: All connection attempts failed)" in await failure(url)


async def test_does_not_ask_again_where_the_address_is_another_services() -> None:
    with fusion_server("--faults", "404") as url:
        assert "is sandbox.url the address of a SandboxFusion server or of" in await failure(url)
    with fusion_server("--faults", "other") as url:
        assert "does not answer /run_code as SandboxFusion does" in await failure(url)


async def test_an_address_must_be_one() -> None:
    assert "sandbox.url = 'localhost' is not an address" in await failure("localhost")


async def test_keeps_to_its_connections() -> None:
    with fusion_server() as url:
        outcomes = await run_all(url, *[ONE] * 20, connections=3)
        assert outcomes == [Outcome("2")] * 20
        assert asked(f"{url}/peak") == 3


async def test_determinism_takes_two_requests() -> None:
    with fusion_server() as url:
        await run_all(url, ONE)
        single = asked(f"{url}/served")
        await run_all(url, Job(ONE.program, ONE.inputs, determinism=True))
        assert asked(f"{url}/served") == 2 * single + 1


async def test_warns_once_where_runs_share_files(caplog: pytest.LogCaptureFixture) -> None:
    with fusion_server("--isolation", "none") as url:
        await run_all(url, ONE, ONE, ONE)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "isolation: none" in warnings[0]


async def test_does_not_warn_where_runs_share_no_files(caplog: pytest.LogCaptureFixture) -> None:
    with fusion_server("--isolation", "lite") as url:
        await run_all(url, ONE)
    assert [record for record in caplog.records if record.levelno == logging.WARNING] == []


async def test_noise_on_the_servers_standard_output_is_not_taken_for_the_report() -> None:
    # The launcher's standard output is open to a program of the same user, whatever stands in its own way to it.
    program = """\
import os
def f(x):
    with open(f'/proc/{os.getppid()}/fd/1', 'w') as stdout:
        stdout.write('0' * 32 + '{"exit_code": 0, "payload": ""}' + '0' * 32)
    return x"""
    with fusion_server() as url:
        assert await run_all(url, Job(program, ("5",))) == [Outcome("5")]


async def test_a_report_that_the_server_cut_short_is_too_large() -> None:
    # Random hexadecimal digits: the report is compressed, and must not fit by that.
    program = "import random\ndef f(): return random.Random(1).randbytes(5000).hex()"
    with fusion_server("--keep-bytes", "4000") as url:
        (outcome,) = await run_all(url, Job(program, ("",)))
    assert outcome.reason is Reason.OUTPUT_TOO_LARGE


async def test_a_launcher_that_was_killed_is_a_crash() -> None:
    program = "import os, signal\ndef f(): os.kill(os.getppid(), signal.SIGKILL)"
    with fusion_server() as url:
        (outcome,) = await run_all(url, Job(program, ("",), limits=Limits(wall_seconds=1)))
    assert outcome.reason is Reason.CRASHED


@pytest.mark.slow
async def test_a_launcher_that_was_stopped_is_ended_by_the_servers_clock() -> None:
    program = "import os, signal\ndef f(): os.kill(os.getppid(), signal.SIGSTOP)"
    with fusion_server() as url:
        (outcome,) = await run_all(url, Job(program, ("",), limits=Limits(wall_seconds=0.1)))
    assert outcome.reason is Reason.TIMEOUT
