"""What a container denies a program, and what the host does when a container is lost. All against a real engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from azr.sandbox import DockerSandbox, Job, Limits, Mode, Outcome, Reason, SandboxError
from azr.sandbox.backends.container import Container, ContainerDiedError
from azr.sandbox.backends.image import build_local_image
from azr.sandbox.host.exchange import most_bytes, request
from tests.sandbox.containers import containers, docker, docker_image

pytestmark = pytest.mark.docker


@pytest_asyncio.fixture
async def box() -> AsyncIterator[DockerSandbox]:
    sandbox = DockerSandbox(image=docker_image(), workers=1)
    yield sandbox
    await sandbox.close()


async def value(box: DockerSandbox, body: str) -> str | None:
    """Give the value of a function's body; a test that gets none shows why."""
    (outcome,) = await box.run(Job("def f():\n" + "\n".join(f"  {line}" for line in body.splitlines()), ("",)))
    assert outcome.ok, outcome
    return outcome.value


# --- what a program cannot reach ---------------------------------------------------------------------------------


async def test_there_is_no_network_but_loopback(box: DockerSandbox) -> None:
    assert await value(box, "import socket\nreturn [name for _, name in socket.if_nameindex()]") == "['lo']"


async def test_nothing_can_be_written_anywhere(box: DockerSandbox) -> None:
    body = """\
import os
written = []
for folder, _, _ in os.walk('/'):
    if not folder.startswith('/proc/'):
        try:
            os.close(os.open(folder + '/left', os.O_CREAT | os.O_WRONLY))
            written.append(folder)
        except OSError:
            pass
return written"""
    assert await value(box, body) == "[]"


async def test_no_system_v_object_can_be_left_for_a_later_job(box: DockerSandbox) -> None:
    body = """\
import ctypes
c = ctypes.CDLL(None)
return c.shmget(77, 4096, 0o1666), c.semget(77, 1, 0o1666), c.msgget(77, 0o1666)"""
    assert await value(box, body) == "(-1, -1, -1)"


@pytest.mark.parametrize("body", ["import os\nos.fork()", "import threading\nthreading.Thread(target=print).start()"])
async def test_no_process_or_thread_can_be_started(box: DockerSandbox, body: str) -> None:
    (outcome,) = await box.run(Job("def f():\n  " + body.replace("\n", "\n  "), ("",)))
    assert (outcome.reason, outcome.error in {"BlockingIOError", "RuntimeError"}) == (Reason.ERROR, True)


async def test_a_script_can_have_threads_and_no_process(box: DockerSandbox) -> None:
    program = """
import os, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start(); thread.join()
try: os.fork()
except PermissionError: print("refused")
"""
    assert await box.run(Job(program, mode=Mode.SCRIPT)) == (Outcome("thread\nrefused\n"),)


async def test_a_script_that_is_killed_leaves_nothing_to_the_next(box: DockerSandbox) -> None:
    spin = Job("while True: pass", mode=Mode.SCRIPT, limits=Limits(wall_seconds=0.5))
    (outcome,) = await box.run(spin)
    assert outcome.reason is Reason.TIMEOUT
    body = "import os\nreturn [name for name in os.listdir('/proc') if name.isdigit() and name != str(os.getpid())]"
    assert await value(box, body) == "['1']"


async def test_there_are_no_rights_and_none_can_be_gained(box: DockerSandbox) -> None:
    body = """\
names = ('Uid', 'Gid', 'CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp')
fields = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
return [set(fields[name].split()) for name in names]"""
    none = "{'0000000000000000'}"
    assert await value(box, body) == f"[{{'65534'}}, {{'65534'}}, {none}, {none}, {none}, {{'1'}}, {{'2'}}]"


@pytest.mark.parametrize("path", ["/proc/1/environ", "/proc/1/mem", "/proc/1/fd/1", "/proc/1/fd/0"])
async def test_the_fork_server_cannot_be_read_or_written(box: DockerSandbox, path: str) -> None:
    (outcome,) = await box.run(Job(f"def f(): return open({path!r}, 'rb').read(1)", ("",)))
    assert outcome.error == "PermissionError"


async def test_an_earlier_jobs_program_and_value_are_not_in_a_later_ones_memory(box: DockerSandbox) -> None:
    await box.run(Job("def f(x): return x + ' and its value ' * 99", ("'the secret of ' 'job one'",)))
    body = """\
import ctypes
left, rights = b'the secret of ', (b'job one and its', b"' 'job one")
found = 0
for line in open('/proc/self/maps').read().splitlines():
    span, rights_of_page = line.split()[:2]
    start, end = (int(edge, 16) for edge in span.split('-'))
    block = ctypes.string_at(start, end - start) if rights_of_page.startswith('rw') else b''
    pieces = block.split(left)
    found += sum(piece.startswith(rights) for piece in pieces[1:])
return found"""
    assert await value(box, body) == "0"


async def test_the_containers_own_limit_holds_where_the_jobs_would_allow_more() -> None:
    job = Job("def f(): return len(bytearray(2**30))", ("",), limits=Limits(memory_bytes=2**32))
    container = await Container.start("docker", docker_image(), hash_seed="1", memory_bytes=128 * 2**20)
    try:
        report = await container.run(request(job, second=False), 10, most_bytes(job))
        assert (report.exit_code, report.payload) == (-signal.SIGKILL, b"")
    except ContainerDiedError:
        pass  # the kernel chose the fork server: the limit held as well
    finally:
        await container.kill()


async def test_the_engine_keeps_no_log_of_values(box: DockerSandbox) -> None:
    await value(box, "return 1")
    (container,) = containers(docker_image())
    assert docker("inspect", "--format", "{{.HostConfig.LogConfig.Type}}", container) == "none"


# --- what a program does to its container ------------------------------------------------------------------------


async def test_signals_to_the_fork_server_do_nothing(box: DockerSandbox) -> None:
    await value(box, "return 1")
    before = containers(docker_image())
    await value(box, "import os\nfor number in range(1, 65):\n  os.kill(1, number)")
    assert await value(box, "return 2") == "2"
    assert containers(docker_image()) == before


@pytest.mark.parametrize(
    "tampering",
    [
        "import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))",
        "import os; os.setpriority(os.PRIO_PROCESS, 1, 19)",
    ],
)
async def test_a_fork_server_that_was_tampered_with_is_replaced(box: DockerSandbox, tampering: str) -> None:
    (outcome,) = await box.run(Job(f"def f():\n  {tampering}", ("",)))
    assert outcome.reason is Reason.TAMPERED
    before = containers(docker_image())
    assert await value(box, "return 2") == "2"
    assert not set(before) & set(containers(docker_image()))


# --- containers that are lost ------------------------------------------------------------------------------------


async def kill_containers(box: DockerSandbox, times: int) -> None:
    """Kill the container that a job is in, then the one that it is in next, and so on."""
    killed: set[str] = set()
    while len(killed) < times:
        for name in {container.name for container in box._first._busy} - killed:
            await asyncio.sleep(0.3)  # into the job
            await asyncio.to_thread(docker, "kill", name)
            killed.add(name)
        await asyncio.sleep(0.05)


async def test_a_job_whose_container_was_killed_is_run_again(box: DockerSandbox) -> None:
    job = Job("import time\ndef f(x):\n  time.sleep(1)\n  return x", ("7",))
    (outcome,), _ = await asyncio.gather(box.run(job), kill_containers(box, 1))
    assert outcome.value == "7"


async def test_a_job_that_wears_out_three_containers_has_crashed(box: DockerSandbox) -> None:
    job = Job("import time\ndef f(): time.sleep(4)", ("",))
    (outcome,), _ = await asyncio.gather(box.run(job), kill_containers(box, 3))
    assert outcome.reason is Reason.CRASHED


async def test_a_cancelled_job_leaves_no_stale_answer_to_the_next(box: DockerSandbox) -> None:
    await value(box, "return 1")
    running = asyncio.create_task(box.run(Job("import time\ndef f():\n  time.sleep(1)\n  return 'stale'", ("",))))
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await value(box, "return 'fresh'") == "'fresh'"


async def test_close_leaves_no_container(box: DockerSandbox) -> None:
    await box.run(Job("def f(): return 1", ("",), determinism=True))
    assert len(containers(docker_image())) == 2
    await box.close()
    assert containers(docker_image()) == []


def test_containers_end_with_a_host_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(
        "import asyncio, sys\n"
        "from azr.sandbox import DockerSandbox, Job\n"
        "async def main():\n"
        "    await DockerSandbox(image=sys.argv[1], workers=1).run(Job('def f(): return 1', ('',)))\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, str(script), docker_image()], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        assert len(containers(docker_image())) == 1
        os.kill(host.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while containers(docker_image()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert containers(docker_image()) == []


# --- what is missing, in one line --------------------------------------------------------------------------------

ONE = Job("def f(): return 1", ("",))


async def test_says_which_image_is_missing() -> None:
    docker_image()
    with pytest.raises(
        SandboxError, match=r"no image 'azr-no-such:image': run `docker pull azr-no-such:image`"
    ) as error:
        await DockerSandbox(image="azr-no-such:image").run(ONE)
    assert "\n" not in str(error.value)


async def test_refuses_a_job_that_its_containers_cannot_hold() -> None:
    with pytest.raises(SandboxError, match="larger memory_bytes"):
        await DockerSandbox(memory_bytes=2**20).run(ONE)


async def test_builds_an_image_under_the_name_that_it_is_given() -> None:
    docker_image()
    identity = build_local_image("azr-sandbox:named")
    try:
        assert docker("image", "inspect", "--format", "{{.Id}}", "azr-sandbox:named") == identity
    finally:
        docker("image", "rm", "azr-sandbox:named")
