"""A small server that speaks SandboxFusion's `POST /run_code`, for tests: it runs the code it is sent, in subprocesses.

Every request and every answer is held against what SandboxFusion says of this route (`run_code.json`); a request that
does not fit it is refused with status 422. As there, a run's stdout comes back whole or, past what a pipe and its reader buffer, not at all.

    python -m tests.sandbox.fusion_server [--isolation none|lite] [--keep-bytes N] [--faults FAULT ...]

prints the port it listens on and serves until its standard input ends. `--isolation lite` gives every run a temporary
folder of its own; `none` shares one, as SandboxFusion does without isolation. `--keep-bytes` is how much of a run's
stdout is kept. The first requests meet the given faults, one each: `drop` (no answer), a status such as `503`, `error`
(an answer with status SandboxError), `other` (an answer of some other service). `GET /peak` gives the most requests
that were under way at once, `GET /served` how many came without a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.json_server import JSONHandler, serve

ROUTE: dict[str, Any] = json.loads(Path(__file__).with_name("run_code.json").read_text())
REQUEST, ANSWER = (Draft202012Validator(ROUTE[part]) for part in ("request", "answer"))


class State:
    """What the server has been asked so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.isolation: str = options.isolation
        self.keep_bytes: int = options.keep_bytes
        self.faults: list[str] = options.faults
        self.running = 0
        self.peak = 0
        self.served = 0
        self.lock = threading.Lock()


def run_code(request: dict[str, Any], state: State) -> dict[str, Any]:
    """Run Python code as SandboxFusion does: a file in a folder of its own, one process, one answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "main.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(request["code"])
        env = dict(os.environ, **({"TMPDIR": folder} if state.isolation == "lite" else {}))
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, path],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate((request.get("stdin") or "").encode(), request.get("run_timeout", 10))
            status, return_code = "Finished", process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            stdout, stderr = process.communicate()
            status, return_code = "TimeLimitExceeded", None
    return {
        "status": "Success" if return_code == 0 else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": {
            "status": status,
            "execution_time": time.monotonic() - started,
            "return_code": return_code,
            "stdout": stdout[: state.keep_bytes].decode("utf-8", "replace"),
            "stderr": stderr.decode("utf-8", "replace"),
        },
        "executor_pod_name": None,
        "files": {},
    }


class Handler(JSONHandler):
    """One connection."""

    state: State

    def get(self) -> None:
        answers = {"/peak": self.state.peak, "/served": self.state.served}
        self.answer(200 if self.path in answers else 404, answers.get(self.path))

    def post(self, request: dict[str, Any]) -> None:
        with self.state.lock:
            fault = self.state.faults.pop(0) if self.state.faults else None
        if fault == "drop":
            self.close_connection = True
        elif fault == "error":
            self._tell({"status": "SandboxError", "message": "no space left", "run_result": None})
        elif fault == "other":
            self.answer(200, {"hello": "world"})
        elif fault is not None:
            self.answer(int(fault), {"detail": "told to"})
        elif self.path != "/run_code":
            self.answer(404, {"detail": "Not Found"})
        elif wrong := [error.message for error in REQUEST.iter_errors(request)]:
            self.answer(422, {"detail": wrong})
        else:
            self._run(request)

    def _tell(self, answer: dict[str, Any]) -> None:
        ANSWER.validate(answer)
        self.answer(200, answer)

    def _run(self, request: dict[str, Any]) -> None:
        state = self.state
        with state.lock:
            state.served += 1
            state.running += 1
            state.peak = max(state.peak, state.running)
        try:
            answer = run_code(request, state)
        finally:
            with state.lock:
                state.running -= 1
        self._tell(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--isolation", choices=["none", "lite"], default="lite")
    parser.add_argument("--keep-bytes", type=int, default=2**20)
    parser.add_argument("--faults", nargs="*", default=[])
    Handler.state = State(parser.parse_args())
    serve(Handler)


if __name__ == "__main__":
    main()
