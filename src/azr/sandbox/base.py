"""The sandbox's contract: a `Job` with its `Limits` and `Policy`, and its `Outcome`s.

A sandbox runs text that a model wrote and returns values as text. It never gets an answer key: the caller compares the
values on the trusted side, as bytes. `docs/sandbox.md` has the threat model.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from azr.errors import UserError


class Mode(StrEnum):
    """What a job's inputs are."""

    CALL = "call"
    """Each input is the text between the parentheses of a call of the entry function: literals only."""
    SCRIPT = "script"
    """The program is run as `__main__` once per input, each time in a process of its own. The input is its standard
    input, and the value is what it printed."""
    LITERAL = "literal"
    """No program: each input is a literal, brought to its canonical text."""


class Reason(StrEnum):
    """Why there is no value."""

    SYNTAX = "syntax"
    FORBIDDEN = "forbidden"
    NO_ENTRY = "no_entry"
    BAD_INPUT = "bad_input"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_TOO_LARGE = "output_too_large"
    UNSUPPORTED_VALUE = "unsupported_value"
    NONDETERMINISTIC = "nondeterministic"
    CRASHED = "crashed"
    TAMPERED = "tampered"


JOB_BYTES = 64 * 2**20
"""The most bytes of UTF-8 in a job's program and inputs together. The host refuses a larger job, with `MEMORY`, so that
no process keeps other jobs waiting while it reads one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use.

    A job whose outcomes do not fit one pipe runs in several processes, one after the other. They share the processor
    time; memory and wall clock hold for each of them.

    Attributes:
        wall_seconds: from the job's start in the child to its end.
        cpu_seconds: whole seconds of processor time, the kernel's unit. The last of several processes may start within
            the limit and end up to a second beyond it.
        memory_bytes: address space of the child, beyond what the bare interpreter takes.
        output_bytes: the canonical text of one value; larger is `OUTPUT_TOO_LARGE`, never truncated.
        depth: nesting of containers in a value or a literal.
    """

    wall_seconds: float = 5.0
    cpu_seconds: int = 5
    memory_bytes: int = 256 * 2**20
    output_bytes: int = 16 * 2**10
    depth: int = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """Quality rules on a program's text, checked on its syntax tree before it runs. They are not a security boundary.

    Attributes:
        forbidden_modules: top-level module names; a submodule, `from x import`, `__import__` and importlib count too.
        program_bytes: the host refuses longer programs as `FORBIDDEN`.
    """

    forbidden_modules: frozenset[str] = frozenset()
    program_bytes: int = 32 * 2**10


@dataclass(frozen=True, slots=True)
class Job:
    """One program and the inputs to run it on, of at most `JOB_BYTES` together.

    Attributes:
        program: Python source; empty with `Mode.LITERAL`.
        inputs: there is one outcome per input, in this order.
        entry: the function that `Mode.CALL` calls.
        mode: what the inputs are.
        policy: rules for the program.
        limits: of the whole job; `output_bytes` and `depth` hold for each value.
        determinism: run twice, with different hash seeds and with the inputs in two orders in which none has the same
            place (unless there is only one); if the results differ, the outcome is `NONDETERMINISTIC`.
    """

    program: str
    inputs: tuple[str, ...] = ("",)
    entry: str = "f"
    mode: Mode = Mode.CALL
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    determinism: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one input: a value, or a reason why there is no value.

    Attributes:
        value: canonical text of the value: equal values have equal text, different values different text.
        reason: why there is no value; None when there is one.
        error: with `Reason.ERROR` the class name of the exception that the program raised, such as "ZeroDivisionError".
        detail: one line for people, at most 200 characters; written by the program, so not to be trusted.
        disturbed: whether a process was killed on the way, so that the outcome is not remembered.
    """

    value: str | None = None
    reason: Reason | None = None
    error: str | None = None
    detail: str = ""
    disturbed: bool = field(default=False, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.reason is None


@runtime_checkable
class Sandbox(Protocol):
    """Runs jobs. Any number of jobs may be awaited at once, from one event loop."""

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        """Run one job.

        Returns:
            one outcome per input, in the order of the inputs. Whatever a program does is an outcome, not an exception.

        Raises:
            SandboxError: the sandbox itself cannot work (backend missing, a protection refused by the kernel).
        """
        ...

    async def close(self) -> None:
        """Stop every process that the sandbox started. Safe to call twice."""
        ...


class SandboxError(UserError):
    """The sandbox cannot work; the message says in one line what is missing and what to do."""
