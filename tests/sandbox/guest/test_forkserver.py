"""The fork server of a container, in a process of its own and without one: what a child does to its pipe, no other feels."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from azr.sandbox import Job, Mode
from azr.sandbox.backends.bundle import SERVE, program
from azr.sandbox.guest.forkserver import CHUNK, JOB, READY, REPORT
from azr.sandbox.host.exchange import Report, Stop, outcomes, request

_PAGE = 4096


class Server:
    """A fork server, read as an engine reads a container: by pieces of its own choice."""

    def __init__(self, process: subprocess.Popen[bytes], seed: int) -> None:
        self.seed = seed
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.stdin, self.stdout = process.stdin.fileno(), process.stdout.fileno()
        self._data = bytearray()

    def run(self, job: Job, *, wait_for: int = 0, seconds: float = 10.0) -> Report:
        """Run a job for at most so many seconds; begin to read when so many bytes are there."""
        text = request(job, second=False)
        os.write(self.stdin, JOB.pack(seconds, 1 << 20, len(text)) + text)
        end = time.monotonic() + 30
        while self._waiting() < wait_for and time.monotonic() < end:
            time.sleep(0.01)
        payload = b""
        while length := CHUNK.unpack(self.read(CHUNK.size))[0]:
            payload += self.read(length)
        stop, exit_code, cpu_seconds = REPORT.unpack(self.read(REPORT.size))
        return Report(Stop(stop), exit_code, cpu_seconds, payload)

    def read(self, length: int) -> bytes:
        while len(self._data) < length:
            assert select.select([self.stdout], [], [], 30)[0], "bytes are missing"
            piece = os.read(self.stdout, _PAGE)
            assert piece, "the fork server has ended"
            self._data += piece
        piece = bytes(self._data[:length])
        del self._data[:length]
        return piece

    def children(self) -> str:
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return file.read()

    def _waiting(self) -> int:
        count: int = struct.unpack("=i", fcntl.ioctl(self.stdout, termios.FIONREAD, bytes(4)))[0]
        return count


@pytest.fixture(params=["1", "2"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    # As process 1 of a container it would inherit every orphan.
    adopt = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER
    command = [sys.executable, "-s", "-S", "-c", adopt + program(SERVE)]
    environment = {"PYTHONHASHSEED": request.param}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        server = Server(process, int(request.param))
        assert server.read(len(READY)) == READY
        yield server
        process.kill()


HONEST = Job("def f(x): return x + 1", ("41",))


def value(report: Report) -> str | None:
    (outcome,) = outcomes(HONEST, report, second=False)
    return outcome.value


def test_a_job_is_run_and_reported(server: Server) -> None:
    assert value(server.run(HONEST)) == "42"


def test_a_pipe_of_packets_takes_nothing_of_the_next_jobs_bytes(server: Server) -> None:
    packet = f"""
import fcntl, os
def f():
    fcntl.fcntl(3, fcntl.F_SETFL, os.O_WRONLY | os.O_DIRECT)
    os.write(3, bytes({_PAGE}))
    os._exit(0)
"""
    report = server.run(Job(packet), wait_for=CHUNK.size + _PAGE + CHUNK.size + REPORT.size)
    assert report.payload == bytes(_PAGE)
    assert value(server.run(HONEST)) == "42"


def test_more_than_is_passed_on_at_once_arrives_whole(server: Server) -> None:
    report = server.run(Job("import os\ndef f():\n os.write(3, bytes(range(256)) * 1024)\n os._exit(0)"))
    assert report.payload == bytes(range(256)) * 1024


def test_process_ids_of_children_are_odd_with_an_odd_hash_seed_and_even_with_an_even_one(server: Server) -> None:
    for _ in range(5):
        assert value(server.run(Job("import os\ndef f(): return os.getpid() % 2"))) == str(server.seed % 2)


def test_a_script_that_outlives_its_supervisor_is_killed_and_buried(server: Server) -> None:
    report = server.run(Job("while True: pass", mode=Mode.SCRIPT), seconds=0.5)
    assert report.stop is Stop.WALL_CLOCK
    assert server.children() == ""
    assert value(server.run(HONEST)) == "42"


def test_a_script_can_have_threads_and_no_process_and_cannot_ask_to_live_on(server: Server) -> None:
    program = """
import ctypes, os, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start(); thread.join()
print(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0))
try: os.fork()
except PermissionError: print("refused")
"""
    job = Job(program, mode=Mode.SCRIPT)
    (outcome,) = outcomes(job, server.run(job), second=False)
    assert outcome.value == "thread\n-1\nrefused\n"


def test_process_ids_of_scripts_are_even_with_an_odd_hash_seed_and_odd_with_an_even_one(server: Server) -> None:
    job = Job("import os\nprint(os.getpid() % 2)", ("",) * 5, mode=Mode.SCRIPT)
    found = outcomes(job, server.run(job), second=False)
    assert [outcome.value for outcome in found] == [f"{(server.seed + 1) % 2}\n"] * 5
