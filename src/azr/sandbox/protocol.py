"""What `azr sandbox serve` and its clients say to each other: JSON over HTTP.

`GET /info` tells what the server is, as `Info`. `POST /run?instance=INSTANCE` takes a `Job` and answers
`{"outcomes": [...]}`, one per input. Any other status than 200 comes with `{"error": "one line"}`.
"""

import hashlib
import json
import math
from dataclasses import asdict
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, PositiveInt, TypeAdapter, ValidationError

from azr.sandbox.base import JOB_BYTES, Job, Limits, Outcome

PROTOCOL = 1
"""Raised when a client and a server of different versions would misunderstand each other."""

REQUEST_BYTES = 6 * JOB_BYTES + 2**20
"""The longest body of a request. JSON takes up to six bytes for one, so that every job that may be run fits."""

TOKEN_VARIABLE = "AZR_SANDBOX_TOKEN"
"""Environment variable with the token that a server asks for, and that a client sends to every server."""

_JOB, _OUTCOMES = TypeAdapter(Job), TypeAdapter(tuple[Outcome, ...])


class Info(BaseModel):
    """What a server tells of itself.

    Attributes:
        protocol: its `PROTOCOL`.
        instance: names this start of the server. A request that names another is refused with status 409, so that a
            client notices a server that was started anew, perhaps with another sandbox.
        azr: its version of azr.
        guest: its `guest_digest`.
        python: version of the Python that runs the programs, such as 3.11.7.
        backend: its sandbox.
        tier: of a local sandbox: `full` or `seccomp`.
        isolated: whether every protection held when it started.
        capacity: jobs that it takes at once; others wait in it.
        limits: the highest limits of a job.
        canary: a file of the server's machine that no program must be able to read.
        pid: the server's process, which no program must be able to signal.
        running: jobs that it has now.
    """

    model_config = ConfigDict(frozen=True)

    protocol: int
    instance: str
    azr: str
    guest: str
    python: str
    backend: str
    tier: str | None
    isolated: bool
    capacity: PositiveInt
    limits: Limits
    canary: str
    pid: PositiveInt
    running: int


@cache
def guest_digest() -> str:
    """A digest of the code that runs beside the programs and writes their values: equal code, equal verdicts."""
    found = hashlib.sha256()
    for file in sorted(resources.files("azr.sandbox.guest").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            found.update(f"{file.name}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def excess(limits: Limits, most: Limits) -> str:
    """What a job's limits ask for beyond the highest, as `name value (at most value)`; empty if nothing."""
    asked, allowed = asdict(limits), asdict(most)
    return "; ".join(
        f"{name} {asked[name]:g} (at most {allowed[name]:g})" for name in asked if asked[name] > allowed[name]
    )


def write_job(job: Job) -> bytes:
    """The body of a request."""
    fields = asdict(job)
    fields["policy"]["forbidden_modules"] = sorted(job.policy.forbidden_modules)
    return json.dumps(fields).encode()


def read_job(body: bytes) -> Job:
    """Read the body of a request, which may be anything.

    Raises:
        ValueError: it is not a job; in one line.
    """
    try:
        job = _JOB.validate_python(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    limits = asdict(job.limits)
    if bad := [name for name, value in limits.items() if not (math.isfinite(value) and value >= 0)]:
        raise ValueError(f"limits.{bad[0]}: must be a number, not negative")
    return job


def write_outcomes(outcomes: tuple[Outcome, ...]) -> bytes:
    """The body of an answer."""
    return b'{"outcomes":' + _OUTCOMES.dump_json(outcomes) + b"}"


def read_outcomes(body: bytes, inputs: int) -> tuple[Outcome, ...]:
    """Read the body of an answer.

    Raises:
        ValueError: it is not one outcome per input.
    """
    content = json.loads(body)
    found = _OUTCOMES.validate_python(content["outcomes"] if isinstance(content, dict) else content)
    if len(found) != inputs or any((outcome.value is None) == outcome.ok for outcome in found):
        raise ValueError(f"{len(found)} outcomes for {inputs} inputs")
    return found
