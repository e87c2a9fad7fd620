"""What holds alike in the Docker, the remote, the Seatbelt and the unsafe backend.

Every run here is a real one. Where there is no macOS, a stand-in takes the place of its sandbox-exec.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from azr.sandbox import (
    DockerSandbox,
    Job,
    Limits,
    Mode,
    Outcome,
    Policy,
    Reason,
    RemoteSandbox,
    Sandbox,
    SeatbeltSandbox,
    UnsafeSubprocessSandbox,
)
from azr.sandbox.backends import seatbelt
from azr.sandbox.base import JOB_BYTES
from tests.sandbox import seatbelt_stand_in
from tests.sandbox.containers import docker_image, fusion_server


@pytest_asyncio.fixture(scope="module")
async def confined(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """Make one for all tests, as it examines itself before the first job."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform != "darwin":
            patch.setattr(seatbelt, "SANDBOX_EXEC", seatbelt_stand_in.install(tmp_path_factory.mktemp("bin")))
        box = SeatbeltSandbox(workers=2)
        yield box
        await box.close()


@pytest_asyncio.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        "remote",
        pytest.param("seatbelt", marks=pytest.mark.slow),
        "unsafe",
    ]
)
async def backend(request: pytest.FixtureRequest, confined: Sandbox) -> AsyncIterator[Sandbox]:
    if request.param == "docker":
        box: Sandbox = DockerSandbox(image=docker_image(), workers=2)
        yield box
        await box.close()
    elif request.param == "seatbelt":
        yield confined
    elif request.param == "remote":
        with fusion_server() as url:
            box = RemoteSandbox(url=url, workers=4)
            yield box
            await box.close()
    else:
        box = UnsafeSubprocessSandbox(workers=2, allow_unsafe=True)
        yield box
        await box.close()


async def reasons(backend: Sandbox, program: str, *inputs: str, limits: Limits | None = None) -> list[Reason | None]:
    outcomes = await backend.run(Job(program, inputs or ("1",), limits=limits or Limits()))
    return [outcome.reason for outcome in outcomes]


async def values(backend: Sandbox, program: str, *inputs: str) -> list[str | None]:
    return [outcome.value for outcome in await backend.run(Job(program, inputs or ("1",)))]


async def test_gives_values_in_the_order_of_the_inputs(backend: Sandbox) -> None:
    assert await values(backend, "def f(x, y=1): return {x: [y]}", "3", "'a', y=None") == ["{3: [1]}", "{'a': [None]}"]


async def test_gives_what_a_script_prints(backend: Sandbox) -> None:
    job = Job("print(input()[::-1])", ("abc", "é"), mode=Mode.SCRIPT)
    assert await backend.run(job) == (Outcome("cba\n"), Outcome("é\n"))


async def test_brings_literals_to_their_canonical_text(backend: Sandbox) -> None:
    outcomes = await backend.run(Job("", ("{2, 1}", "f(1)"), mode=Mode.LITERAL))
    assert [outcome.value for outcome in outcomes] == ["{1, 2}", None]
    assert outcomes[1].reason is Reason.BAD_INPUT


async def test_names_the_class_of_an_exception(backend: Sandbox) -> None:
    (outcome,) = await backend.run(Job("def f(x): return x / 0", ("1",)))
    assert (outcome.reason, outcome.error) == (Reason.ERROR, "ZeroDivisionError")


async def test_refuses_a_forbidden_module(backend: Sandbox) -> None:
    policy = Policy(forbidden_modules=frozenset({"os"}))
    (outcome,) = await backend.run(Job("import os\ndef f(x): return x", ("1",), policy=policy))
    assert outcome.reason is Reason.FORBIDDEN


async def test_judges_a_job_that_is_too_large_without_running_it(backend: Sandbox) -> None:
    async with asyncio.timeout(0):  # nothing is waited for
        assert await reasons(backend, "#" * 2**25, "1", "2") == [Reason.FORBIDDEN] * 2
        assert await reasons(backend, "", "1" * (JOB_BYTES + 1)) == [Reason.MEMORY]


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(600)"])
async def test_ends_a_program_at_the_wall_clock(backend: Sandbox, body: str) -> None:
    assert await reasons(backend, f"def f(x):\n  {body}", limits=Limits(wall_seconds=0.5)) == [Reason.TIMEOUT]


async def test_ends_a_program_at_its_processor_time_even_if_it_ignores_the_signal(backend: Sandbox) -> None:
    ignore = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)"
    limits = Limits(wall_seconds=30, cpu_seconds=1)
    assert await reasons(backend, f"def f(x):\n  {ignore}\n  while True: pass", limits=limits) == [Reason.TIMEOUT]


async def test_holds_the_memory_limit(backend: Sandbox) -> None:
    program = "def f(x): return len(bytearray(x * 2**20))"
    limits = Limits(memory_bytes=128 * 2**20)
    assert await reasons(backend, program, "64", "256", limits=limits) == [None, Reason.MEMORY]


async def test_calls_a_value_too_large_rather_than_cut_it(backend: Sandbox) -> None:
    limits = Limits(output_bytes=100)
    assert await reasons(backend, "def f(x): return 'a' * x", "98", "99", limits=limits) == [
        None,
        Reason.OUTPUT_TOO_LARGE,
    ]


async def test_keeps_the_outcomes_before_a_crash(backend: Sandbox) -> None:
    program = "import os\ndef f(x):\n  if x == 2: os._exit(0)\n  return x"
    assert await reasons(backend, program, "1", "2", "3") == [None, Reason.CRASHED, Reason.CRASHED]


async def test_calls_a_flood_of_output_tampering(backend: Sandbox) -> None:
    program = "import os\ndef f(x):\n  while True: os.write(3, bytes(60000))"
    assert await reasons(backend, program) == [Reason.TAMPERED]


async def test_calls_bytes_among_the_outcomes_tampering(backend: Sandbox) -> None:
    program = "import os\ndef f(x):\n  os.write(3, b'value 42')\n  return 1"
    assert await reasons(backend, program) == [Reason.TAMPERED]


async def test_does_not_take_what_a_program_prints_for_an_outcome(backend: Sandbox) -> None:
    assert await values(
        backend, "import sys\ndef f(x):\n  print('9' * 999, file=sys.__stdout__, flush=True)\n  return x"
    ) == ["1"]


async def test_finds_a_program_that_depends_on_the_hash_seed(backend: Sandbox) -> None:
    job = Job("def f(x): return hash(x)", ("'a'", "5"), determinism=True)
    first, second = await backend.run(job)
    assert first.reason is Reason.NONDETERMINISTIC
    assert second.value == "5"


async def test_finds_a_program_that_depends_on_its_process_id(backend: Sandbox) -> None:
    for _ in range(3):
        (outcome,) = await backend.run(Job("import os\ndef f(x): return os.getpid()", ("1",), determinism=True))
        assert outcome.reason is Reason.NONDETERMINISTIC


async def test_finds_a_program_that_depends_on_the_order_of_its_inputs(backend: Sandbox) -> None:
    program = "seen = []\ndef f(x):\n  seen.append(x)\n  return len(seen)"
    for inputs in (("1", "2"), ("1", "2", "3"), ("1", "2", "3", "4", "5")):
        outcomes = await backend.run(Job(program, inputs, determinism=True))
        assert [outcome.reason for outcome in outcomes] == [Reason.NONDETERMINISTIC] * len(inputs)


async def test_shows_a_program_nothing_of_the_hosts_environment(
    backend: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZR_CANARY", "a secret of the host's")
    (value,) = await values(backend, "import os\ndef f(x): return sorted(os.environ)")
    assert value is not None
    assert "AZR_CANARY" not in value


async def test_keeps_many_jobs_apart_that_run_at_once(backend: Sandbox) -> None:
    jobs = [Job("def f(x): return x * x", (str(number),)) for number in range(40)]
    outcomes = await asyncio.gather(*(backend.run(job) for job in jobs))
    assert [outcome.value for (outcome,) in outcomes] == [str(number**2) for number in range(40)]


async def test_can_be_closed_twice(backend: Sandbox) -> None:
    await values(backend, "def f(x): return x")
    await backend.close()
    await backend.close()
