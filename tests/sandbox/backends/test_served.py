"""A server of azr's own sandbox: the same outcomes as without it, and a clear refusal of everything else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.sandbox import (
    Job,
    Limits,
    LocalSandbox,
    Mode,
    Outcome,
    Policy,
    Reason,
    RemoteSandbox,
    SandboxError,
    UnsafeSubprocessSandbox,
)
from azr.sandbox.protocol import REQUEST_BYTES, read_job, read_outcomes, write_job, write_outcomes
from tests.sandbox.serving import Kept, Served, served

ONE = Job("def f(x): return x + 1", ("1",))
JSON = {"Content-Type": "application/json"}


@pytest_asyncio.fixture(scope="module")
async def local() -> AsyncIterator[LocalSandbox]:
    sandbox = LocalSandbox(workers=1)
    yield sandbox
    await sandbox.close()


@pytest_asyncio.fixture(scope="module")
async def host(local: LocalSandbox) -> AsyncIterator[Served]:
    async with served(Kept(local)) as made:
        yield made


async def run(job: Job, *urls: str, **options) -> tuple[Outcome, ...]:
    box = RemoteSandbox(url=urls, attempts=2, backoff_seconds=0.01, **options)
    try:
        return await box.run(job)
    finally:
        await box.close()


async def refusal(job: Job, *urls: str, **options) -> str:
    """The message of a job that must fail: one line."""
    with pytest.raises(SandboxError) as error:
        await run(job, *urls, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- outcomes ---


@pytest.mark.parametrize(
    "job",
    [
        Job("def f(x, y=1): return {x: [y]}", ("3", "'a', y=None", "open('x')")),
        Job("print(input()[::-1])", ("abc", "é", ""), mode=Mode.SCRIPT),
        Job("", ("{2, 1}", "f(1)", "'\U0001f600'"), mode=Mode.LITERAL),
        Job("import os\ndef f(x): return x", ("1",), policy=Policy(forbidden_modules=frozenset({"os", "sys"}))),
        Job("def f(x): return hash(x)", ("'a'", "5"), determinism=True),
        Job("def f(x): return 'a' * x", ("98", "99"), limits=Limits(output_bytes=100)),
        Job("def f(x):\n while True: pass", ("1",), limits=Limits(wall_seconds=0.2)),
        Job("def f(x): return '\ud800'", ("1",)),
        Job("def f(x):", ("1",)),
        Job("def f(x): return x", ()),
    ],
    ids=["call", "script", "literal", "policy", "determinism", "output", "clock", "surrogate", "syntax", "no inputs"],
)
async def test_outcomes_are_those_of_the_sandbox_that_is_served(host: Served, local: LocalSandbox, job: Job) -> None:
    assert await run(job, host.url) == await local.run(job)


TEXTS = st.text(st.characters(), max_size=20)  # with lone surrogates
JOBS = st.builds(
    Job,
    program=TEXTS,
    inputs=st.lists(TEXTS, max_size=4).map(tuple),
    entry=TEXTS,
    mode=st.sampled_from(Mode),
    policy=st.builds(Policy, st.frozensets(TEXTS, max_size=3), st.integers(0, 2**40)),
    limits=st.builds(Limits, st.floats(0, 1e6), *[st.integers(0, 2**40)] * 4),
    determinism=st.booleans(),
)
OUTCOMES = st.one_of(
    st.builds(Outcome, value=st.text(), disturbed=st.booleans()),
    st.builds(Outcome, reason=st.sampled_from(Reason), error=st.none() | st.text(), detail=st.text()),
)


@settings(max_examples=30)
@given(JOBS)
def test_a_job_arrives_as_it_was_sent(job: Job) -> None:
    assert read_job(write_job(job)) == job


@settings(max_examples=30)
@given(st.lists(OUTCOMES, max_size=5).map(tuple))
def test_outcomes_arrive_as_they_were_sent(outcomes: tuple[Outcome, ...]) -> None:
    received = read_outcomes(write_outcomes(outcomes), len(outcomes))
    assert received == outcomes
    assert [one.disturbed for one in received] == [one.disturbed for one in outcomes]


def test_an_answer_must_have_one_outcome_per_input() -> None:
    with pytest.raises(ValueError, match="1 outcomes for 2 inputs"):
        read_outcomes(write_outcomes((Outcome("1"),)), 2)


# --- requests that are refused ---


@given(
    st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda one: json.dumps(one).encode())
)
def test_what_is_not_a_job_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_job(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "program: Field required"),
        (b'{"program": 1}', "program: Input should be a valid string"),
        (b'{"program": "", "mode": "shell"}', "mode: Input should be"),
        (b'{"program": "", "limits": {"wall_seconds": NaN}}', "limits.wall_seconds: must be"),
        (b'{"program": "", "limits": {"wall_seconds": -1}}', "limits.wall_seconds: must be"),
    ],
)
async def test_a_malformed_request_is_refused_and_the_server_goes_on(host: Served, body: bytes, said: str) -> None:
    async with httpx.AsyncClient(base_url=host.url) as http:
        answer = await http.post("/run", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["error"][: len(said)]) == (400, said)
        assert (await http.post("/run", content=write_job(ONE), headers=JSON)).json()["outcomes"][0]["value"] == "2"


async def test_what_a_page_in_a_browser_may_send_unasked_is_refused(host: Served) -> None:
    async with httpx.AsyncClient(base_url=host.url) as http:
        answer = await http.post("/run", content=write_job(ONE), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


async def test_a_request_that_is_too_large_is_refused_before_it_is_read(host: Served) -> None:
    address = httpx.URL(host.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = f"POST /run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {REQUEST_BYTES + 1}\r\n\r\n"
    writer.write(head.encode())
    assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_request_of_unknown_length_is_read_no_further_than_allowed(local: LocalSandbox, monkeypatch) -> None:
    monkeypatch.setattr("azr.sandbox.serve.REQUEST_BYTES", 1000)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with served(Kept(local)) as host, httpx.AsyncClient(base_url=host.url) as http:
        assert (await http.post("/run", content=endless(), headers=JSON)).status_code == 413


async def test_limits_above_the_servers_are_refused_in_one_line(host: Served) -> None:
    job = Job(ONE.program, ONE.inputs, limits=Limits(wall_seconds=61.0))
    said = f"the sandbox server at {host.url} does not allow limits this high: wall_seconds 61 (at most 60);"
    assert (await refusal(job, host.url)).startswith(said)
    async with httpx.AsyncClient(base_url=host.url) as http:
        assert (await http.post("/run", content=write_job(job), headers=JSON)).status_code == 422


async def test_a_limit_that_the_sandbox_itself_cannot_hold_is_refused_in_one_line(host: Served) -> None:
    job = Job(ONE.program, ONE.inputs, limits=Limits(output_bytes=2**25))
    assert "refuses a job: status 422: limits: output_bytes" in await refusal(job, host.url)


# --- who may ask ---


async def test_without_the_token_nothing_is_told_and_nothing_is_run(local: LocalSandbox, monkeypatch) -> None:
    async with served(Kept(local), token="sesame") as host:
        async with httpx.AsyncClient(base_url=host.url) as http:
            for sent in ({}, {"Authorization": "Bearer sesam"}, {"Authorization": "sesame"}):
                assert (await http.get("/info", headers=sent)).status_code == 401
                assert (await http.post("/run", content=write_job(ONE), headers=JSON | sent)).status_code == 401
        assert await refusal(ONE, host.url) == (
            f"the sandbox server at {host.url}: it refuses the token; set AZR_SANDBOX_TOKEN to the server's"
        )
        monkeypatch.setenv("AZR_SANDBOX_TOKEN", "sesame")
        assert await run(ONE, host.url) == (Outcome("2"),)


# --- isolation ---


async def test_a_sandbox_that_does_not_isolate_is_not_served() -> None:
    async def examine(sandbox):
        from azr.sandbox.doctor import probe, witness

        with witness() as canary:
            return await probe(sandbox, str(canary), 1, Limits())

    unsafe = UnsafeSubprocessSandbox(allow_unsafe=True)
    with pytest.raises(SandboxError, match=r"backend unsafe does not isolate programs here \(network, files, writing"):
        async with served(unsafe, backend="unsafe", examine=examine):
            pass


async def test_a_server_that_says_it_does_not_isolate_is_used_only_if_that_is_allowed(host: Served, caplog) -> None:
    told = host.server.info
    host.server.info = told.model_copy(update={"isolated": False})
    try:
        assert "does not isolate programs (it says so itself)" in await refusal(ONE, host.url)
        assert await run(ONE, host.url, allow_unsafe=True) == (Outcome("2"),)
        assert "does not isolate programs" in caplog.text
    finally:
        host.server.info = told


async def test_a_server_that_wrongly_says_it_isolates_is_found_out() -> None:
    async with served(UnsafeSubprocessSandbox(allow_unsafe=True)) as host:
        said = await refusal(ONE, host.url)
    for name in ("network", "files", "writing", "environment"):
        assert f"{name}: " in said or len(said) > 200
    assert "does not isolate programs (network: open a socket gave" in said


# --- versions ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": 99}, "speaks protocol 99, this is azr 0.1.0 with protocol 1; install the same azr on both"),
        ({"guest": "0" * 16}, "runs programs by other code than this azr"),
    ],
)
async def test_another_version_of_azr_is_refused_in_one_line(host: Served, change: dict, said: str) -> None:
    told = host.server.info
    host.server.info = told.model_copy(update=change)
    try:
        assert said in await refusal(ONE, host.url)
    finally:
        host.server.info = told


async def test_servers_with_different_pythons_are_refused_in_one_line(host: Served, local: LocalSandbox) -> None:
    async with served(Kept(local)) as other:
        other.server.info = other.server.info.model_copy(update={"python": "3.10.0"})
        said = await refusal(ONE, host.url, other.url)
    assert f"Python {host.server.info.python} at {host.url}" in said
    assert f"3.10.0 at {other.url}" in said
    assert "run the same Python on all of them" in said


# --- clients that go away ---


async def until(url: str, running: int) -> None:
    """Wait until a server says that so many jobs are running."""
    async with httpx.AsyncClient(base_url=url) as http:
        while (await http.get("/info")).json()["running"] != running:  # noqa: ASYNC110 (only the server knows)
            await asyncio.sleep(0.01)


async def test_a_job_that_its_client_abandons_is_cancelled(local: LocalSandbox) -> None:
    sandbox = Kept(local)
    async with served(sandbox) as host:
        box = RemoteSandbox(url=host.url)
        slow = Job("import time\ndef f(x): time.sleep(5)", ("1",))
        jobs = [asyncio.create_task(box.run(slow)) for _ in range(3)]
        await until(host.url, 3)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
        await until(host.url, 0)
        assert sandbox.running == 0
        await box.close()
