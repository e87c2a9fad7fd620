"""One SandboxFusion server, asked through its `POST /run_code`.

Request and answer are SandboxFusion's `RunCodeRequest` and `RunCodeResponse`
(https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post).

The server has to contain the program. This side guarantees that no answer key leaves the host, that values are read
as data, and that nothing a program prints is mistaken for the report on it.
"""

import asyncio
import base64
import json
import logging
import secrets
import zlib
from importlib import resources
from typing import Any, NamedTuple

import httpx

from azr.http_client import PatientClient, UnavailableError, one_line
from azr.sandbox.backends.bundle import RUN_ONE, program
from azr.sandbox.backends.pool import LostServerError
from azr.sandbox.base import Job, Outcome, Reason, SandboxError
from azr.sandbox.host.exchange import HASH_SEEDS, Report, Stop, agree, most_bytes, outcomes, request

_log = logging.getLogger(__name__)

_START_SECONDS = 2.0  # seconds for an interpreter to start on a busy server, in addition to a program's wall clock
_SERVER_SECONDS = 5.0  # how many seconds after our own wall clock the server's stops a run
_PYTHON = (3, 11)  # the oldest Python that can run the far side
_LEAVE_MARK = "import os, tempfile\nopen(os.path.join(tempfile.gettempdir(), {mark!r}), 'w').close()\n"
_FIND_MARK = """\
import json, os, sys, tempfile
path = os.path.join(tempfile.gettempdir(), {mark!r})
found = os.path.exists(path)
if found:
    os.remove(path)
print(json.dumps([found, *sys.version_info[:3]]))
"""


class _Ran(NamedTuple):
    """The server's report on one run, with its streams as far as the server kept them, and its isolation if told."""

    timed_out: bool
    stdout: str
    stderr: str
    isolation: str | None


class FusionServer:
    """A SandboxFusion server (see `azr.sandbox.backends.pool.Server`).

    Args:
        url: its address, without `/run_code`.
        http: connections to it; each request is sent once.
        capacity: jobs that it gets at once.
    """

    kind = "SandboxFusion"

    def __init__(self, url: str, http: PatientClient, capacity: int) -> None:
        self.url, self.capacity, self.python, self.isolation = url, capacity, "", "not told"
        self._http = http

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job, which is not too large; see `Server.run`."""
        if not job.determinism:
            return await self._run_once(job, second=False)
        return agree(*await asyncio.gather(self._run_once(job, second=False), self._run_once(job, second=True)))

    async def ping(self, seconds: float) -> None:
        """Nothing: a request that gets no answer fails by its own time limit, which the program's limits decide."""

    async def meet(self, *, warn: bool) -> None:
        """Find out the server's version of Python, and warn if the server does not isolate its runs.

        SandboxFusion's configuration has `isolation: none` or `lite`, but its answers do not say which. With `lite`
        every run has a file system of its own, so one run leaves a file and the next looks for it. A server that
        reports its isolation in an `isolation` field is believed.

        Raises:
            LostServerError: no usable answer.
            SandboxError: it does not run Python, or one that is too old.
        """
        mark = f"azr-{secrets.token_hex(8)}"
        left = await self._run_code(_LEAVE_MARK.format(mark=mark), run_timeout=10.0)
        ran = await self._run_code(_FIND_MARK.format(mark=mark), run_timeout=10.0)
        try:
            found, *version = json.loads(ran.stdout)
        except ValueError:
            reason = " ".join(ran.stderr.split())[-200:] or "its run printed nothing"
            raise SandboxError(f"the sandbox server at {self.url} does not run Python: {reason}") from None
        if tuple(version) < _PYTHON:
            raise SandboxError(
                f"the sandbox server at {self.url} runs Python {version[0]}.{version[1]}; it needs 3.11 or later"
            )
        self.python = ".".join(map(str, version))
        self.isolation = "none" if found or "none" in (left.isolation, ran.isolation) else "lite"
        if self.isolation == "none" and warn:
            _log.warning(
                "the sandbox server at %s runs with isolation: none: programs share its files, and can harm it and each"
                " other; set `isolation: lite` in the server's configuration",
                self.url,
            )

    async def _run_once(self, job: Job, *, second: bool) -> tuple[Outcome, ...]:
        nonce = secrets.token_hex(16)
        code = _code(job, nonce, second=second)
        seconds = _START_SECONDS + job.limits.wall_seconds + _SERVER_SECONDS
        report = _report(await self._run_code(code, run_timeout=seconds), nonce, most_bytes(job))
        if isinstance(report, Reason):
            return (Outcome(reason=report, detail="the server gave no whole report"),) * len(job.inputs)
        return outcomes(job, report, second=second)

    async def _run_code(self, code: str, *, run_timeout: float) -> _Ran:
        """Run a Python program on the server, which is to stop it after `run_timeout` seconds.

        Raises:
            LostServerError: no answer, or none that another attempt would not change.
            SandboxError: the answer is not SandboxFusion's.
        """
        asked = {"code": code, "language": "python", "run_timeout": run_timeout, "compile_timeout": run_timeout}
        try:
            return await self._http.post("/run_code", asked, read=self._read, read_seconds=run_timeout + 60.0)
        except UnavailableError as error:
            raise LostServerError(one_line(str(error))) from None

    def _read(self, answer: httpx.Response) -> _Ran:
        if answer.status_code >= 500 or answer.status_code == 429:
            raise UnavailableError(f"status {answer.status_code}")
        if answer.status_code != 200:
            raise SandboxError(
                f"the sandbox server at {self.url} refused /run_code with status {answer.status_code}; is sandbox.url"
                " the address of a SandboxFusion server or of `azr sandbox serve`?"
            )
        try:
            content: dict[str, Any] = answer.json()
            if content["status"] == "SandboxError":
                raise UnavailableError(f"the server says: {one_line(content.get('message') or 'SandboxError')}")
            run = content["run_result"]
            return _Ran(
                timed_out=run["status"] == "TimeLimitExceeded",
                stdout=run.get("stdout") or "",
                stderr=run.get("stderr") or "",
                isolation=content.get("isolation"),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SandboxError(
                f"the sandbox server at {self.url} does not answer /run_code as SandboxFusion does; check sandbox.url"
            ) from None


def _code(job: Job, nonce: str, *, second: bool) -> str:
    arguments = {
        "program": program(RUN_ONE),
        "job": request(job, second=second).decode(),
        "hash_seed": HASH_SEEDS[second],
        "nonce": nonce,
        "wall_seconds": job.limits.wall_seconds,
        "most_bytes": most_bytes(job),
        "start_seconds": _START_SECONDS,
    }
    source = resources.files("azr.sandbox.guest").joinpath("launch.py").read_text("utf-8")
    # As JSON in a literal of its own: no text of the job's can be anything but data in it.
    return f"{source}\n\nlaunch(**json.loads({json.dumps(arguments)!r}))\n"


def _report(ran: _Ran, nonce: str, most: int) -> Report | Reason:
    """Read what `launch` printed, or say why there is no report."""
    if ran.timed_out:
        return Reason.TIMEOUT
    _, *parts = ran.stdout.split(nonce)
    if len(parts) != 2:
        # Begun but not ended: the server truncates what a run prints.
        return Reason.OUTPUT_TOO_LARGE if len(parts) == 1 else Reason.CRASHED
    try:
        report: Any = json.loads(parts[0])
        stop = Stop.TOO_MUCH_OUTPUT if report["too_much_output"] else Stop.NONE
        unpack = zlib.decompressobj()
        return Report(
            stop=Stop.WALL_CLOCK if report["wall_clock"] else stop,
            exit_code=int(report["exit_code"]),
            cpu_seconds=float(report["cpu_seconds"]),
            payload=unpack.decompress(base64.b64decode(report["payload"]), most),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, zlib.error):
        return Reason.TAMPERED
