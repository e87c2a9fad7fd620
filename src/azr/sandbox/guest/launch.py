"""What a remote server runs: start the program in a process of its own, and report how it ended.

Its source, with a call of `launch` at the end, is the request's code. The program's process has a PYTHONHASHSEED of its
own, and a pipe instead of the server's standard output, so that nothing it prints can pass for the answer.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import zlib
from contextlib import suppress


def launch(
    *, program: str, job: str, hash_seed: str, nonce: str, wall_seconds: float, most_bytes: int, start_seconds: float
) -> None:
    """Run the source `program` on standard input `job`, and print a report between two nonces.

    The process is killed after `start_seconds` and `wall_seconds`, or if it writes more than `most_bytes`.
    """
    # Where each run has a pid namespace of its own, both of a determinism pair would have the same process id.
    if int(hash_seed) % 2 == 0:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    process = subprocess.Popen(
        [sys.executable, "-s", "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONHASHSEED": hash_seed},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    too_late = threading.Event()

    def stop_late() -> None:
        too_late.set()
        _kill(process)

    timer = threading.Timer(start_seconds + wall_seconds, stop_late)
    timer.start()
    with suppress(BrokenPipeError):  # it may die young; its exit code says how
        process.stdin.write(job.encode())
        process.stdin.close()
    payload = process.stdout.read(most_bytes + 1)
    if len(payload) > most_bytes:
        _kill(process)
    exit_code = process.wait()
    timer.cancel()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "wall_clock": too_late.is_set(),
        "too_much_output": len(payload) > most_bytes,
        "exit_code": exit_code,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        # Compressed: a server keeps little of what a run prints.
        "payload": base64.b64encode(zlib.compress(payload[:most_bytes])).decode("ascii"),
    }
    print(f"\n{nonce}{json.dumps(report)}{nonce}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself meanwhile
        os.killpg(process.pid, signal.SIGKILL)
