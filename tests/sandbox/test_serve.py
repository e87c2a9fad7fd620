"""`azr sandbox serve` in processes of its own, which are killed and stopped, and whole runs through them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from azr.sandbox import Job, Limits, LocalSandbox, Mode, Outcome, RemoteSandbox, SandboxError
from azr.sandbox.protocol import write_job
from tests.runs import azr, events, metrics, only_run, tiny_config
from tests.sandbox.serving import Host, hosts

JOBS = [
    [
        Job("def f(x): return x * x", (str(number),)),
        Job(
            "import time\ndef f(x):\n    time.sleep(0.02)\n    return {x: [x]}", (str(number), "'a'"), determinism=True
        ),
        Job("print(input()[::-1])", (f"n = {number}",), mode=Mode.SCRIPT),
        Job("def f(x): return 1 // (x % 3)", (str(number),)),
        Job("", (f"{{{number}, 1}}", "f()"), mode=Mode.LITERAL),
    ][number % 5]
    for number in range(500)
]


async def run_all(box: RemoteSandbox | LocalSandbox, meanwhile: Callable[[], None] = lambda: None) -> list:
    """Run all 500 jobs at once; `meanwhile` is called when a tenth of them has ended."""
    ended: list[int] = []

    async def one(number: int, job: Job) -> tuple[Outcome, ...]:
        outcomes = await box.run(job)
        ended.append(number)
        if len(ended) == len(JOBS) // 10:
            meanwhile()
        return outcomes

    try:
        found = await asyncio.gather(*(one(*each) for each in enumerate(JOBS)))
    finally:
        await box.close()
    assert sorted(ended) == list(range(len(JOBS)))
    return found


def kill(*those: Host) -> None:
    for host in those:
        host.process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("dead", [1, 2])
async def test_outcomes_of_500_jobs_are_the_same_if_servers_are_killed(dead: int, capsys) -> None:
    expected = await run_all(LocalSandbox(workers=1))
    with hosts(3) as three:
        box = RemoteSandbox(url=[host.url for host in three])
        assert await run_all(box, lambda: kill(*three[:dead])) == expected
    assert capsys.readouterr().err.count(" is lost (") == dead


@pytest.mark.slow
async def test_outcomes_of_500_jobs_are_the_same_if_a_server_freezes() -> None:
    expected = await run_all(LocalSandbox(workers=1))
    with hosts(2) as two:
        box = RemoteSandbox(url=[host.url for host in two], silence_seconds=3.0)
        frozen = lambda: os.kill(two[0].process.pid, signal.SIGSTOP)  # noqa: E731
        assert await run_all(box, frozen) == expected


@pytest.mark.slow
async def test_if_all_servers_are_killed_there_is_one_line() -> None:
    with hosts(2) as two:
        box = RemoteSandbox(url=[host.url for host in two], backoff_seconds=0.01)
        with pytest.raises(SandboxError, match="no sandbox server is left"):
            await run_all(box, lambda: kill(*two))


@pytest.mark.slow
async def test_a_client_that_hangs_up_leaves_no_job_behind_and_sigterm_ends_the_server() -> None:
    with hosts(1) as (host,):
        async with httpx.AsyncClient(base_url=host.url) as http:
            info = (await http.get("/info")).json()
            assert (info["isolated"], info["backend"], info["capacity"]) == (True, "local", 4)
            job = write_job(
                Job("def f(x):\n  while True: pass", ("1",), limits=Limits(wall_seconds=500, cpu_seconds=500))
            )
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/run", content=job, headers={"Content-Type": "application/json"}, timeout=1.0)
            while (await http.get("/info")).json()["running"]:  # noqa: ASYNC110 (only the server knows)
                await asyncio.sleep(0.01)
        host.process.terminate()
        assert host.process.wait(timeout=60) == 0


# --- the command ---


@pytest.mark.slow
def test_what_cannot_be_served_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for words, said in [
            (["--port", str(port)], f"--host 127.0.0.1 --port {port}: address already in use"),
            (["--host", "nowhere.invalid"], "--host nowhere.invalid --port 8090: "),
            (["--backend", "remote", "url=http://a"], "serves a sandbox of this machine"),
            (["--backend", "unsafe"], "accept the risk with sandbox.allow_unsafe = true"),
            (["wrokers=2"], "unknown key wrokers; did you mean workers?"),
        ]:
            done = azr("sandbox", "serve", *words, cwd=tmp_path, env={**os.environ, "AZR_SANDBOX_TOKEN": "x"})
            assert (done.returncode, done.stdout) == (2, "")
            (line,) = done.stderr.splitlines()
            assert said in line


@pytest.mark.slow
def test_an_unsafe_backend_is_served_only_with_consent_and_a_label(tmp_path: Path) -> None:
    # As root's own user it could start processes, which the doctor finds.
    with hosts(1, "--backend", "unsafe", "allow_unsafe=true") as (host,):
        done = azr("sandbox", "doctor", "backend=remote", f"url={host.url}", cwd=tmp_path)
        assert done.returncode == 2
        assert "does not isolate programs (it says so itself)" in done.stderr


@pytest.mark.slow
def test_the_doctor_shows_every_server_and_tries_each(tmp_path: Path) -> None:
    token = {"AZR_SANDBOX_TOKEN": "sesame", "COLUMNS": "200"}  # wide enough to print addresses in one line
    with hosts(2, env=token) as two:
        urls = ",".join(host.url for host in two)
        done = azr("sandbox", "doctor", "backend=remote", f"url={urls}", cwd=tmp_path, env={**os.environ, **token})
        assert done.returncode == 0, done.stderr
        for host in two:
            assert done.stdout.count(host.url) == 2
        wrong = azr("sandbox", "doctor", "backend=remote", f"url={urls}", cwd=tmp_path)
        assert wrong.returncode == 2
        assert "it refuses the token; set AZR_SANDBOX_TOKEN" in wrong.stderr
        two[0].process.kill()
        gone = azr("sandbox", "doctor", "backend=remote", f"url={urls}", cwd=tmp_path, env={**os.environ, **token})
        assert gone.returncode == 2
        assert f"no sandbox server answers at {two[0].url}" in gone.stderr


# --- runs ---


def train(config: Path, out: Path, *words: str):
    return azr("train", config, f"output_dir={out}", *words, cwd=config.parent)


def once_played(out: Path, lines: int, act: Callable[[], None]) -> threading.Thread:
    """Act when the run in a folder has logged so many events."""

    def watch() -> None:
        while not any(len(log.read_bytes().splitlines()) >= lines for log in out.glob("*/events.jsonl")):
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def alone(apprentice: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration, and its run in the local jail."""
    folder = tmp_path_factory.mktemp("alone")
    config = tiny_config(folder, apprentice)
    done = train(config, folder / "runs")
    assert done.returncode == 0, done.stderr
    return config, only_run(folder / "runs")


def same(run: Path, other: Path) -> None:
    assert events(run) == events(other)
    assert metrics(run) == metrics(other)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (run, other)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_run_whose_server_is_killed_equals_a_run_in_the_local_jail(alone, tmp_path: Path) -> None:
    config, run = alone
    with hosts(2) as two:
        urls = ",".join(host.url for host in two)
        watcher = once_played(tmp_path, len(events(run)) // 2, lambda: kill(two[0]))
        done = train(config, tmp_path, "sandbox.backend=remote", f"sandbox.url={urls}")
        watcher.join()
    assert done.returncode == 0, done.stderr
    assert f"azr: the sandbox server at {two[0].url} is lost (" in done.stderr
    same(only_run(tmp_path), run)


@pytest.mark.slow
def test_a_run_that_lost_all_servers_ends_with_one_line_and_resumes_on_others(alone, tmp_path: Path) -> None:
    config, run = alone
    with hosts(2) as two:
        urls = ",".join(host.url for host in two)
        watcher = once_played(tmp_path, len(events(run)) // 2, lambda: kill(*two))
        done = train(config, tmp_path, "sandbox.backend=remote", f"sandbox.url={urls}")
        watcher.join()
    assert done.returncode == 2
    assert "azr: error: no sandbox server is left (" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    with hosts(1) as (host,):
        stopped = only_run(tmp_path)
        resumed = azr("train", "--resume", stopped, f"sandbox.url={host.url}", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    same(stopped, run)


@pytest.mark.slow
def test_a_plan_measures_the_servers(alone, tmp_path: Path) -> None:
    config, _ = alone
    with hosts(1) as (host,):
        done = azr("plan", config, "sandbox.backend=remote", f"sandbox.url={host.url}", cwd=tmp_path)
    assert f" jobs per second on {host.url}, " in done.stdout
