"""Sandbox jobs of an evaluation: the model's program and the published tests, never both in one process."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

from azr.evals.inside import source
from azr.sandbox.base import Job, Limits, Mode, Outcome, Policy, Sandbox

SLACK = 3.0
_POLICY = Policy(program_bytes=2**20)
_TEST_LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30, memory_bytes=2**30, output_bytes=2**19)


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs answers and tests in a sandbox."""

    sandbox: Sandbox  # runs both
    seconds: float = 10.0
    """Processor time of an answer for all its calls, or for one standard input.

    The wall-clock limit is `SLACK` times as long, so that a busy machine changes no score.
    """
    memory_mb: int = 512  # memory of an answer

    async def values(
        self,
        program: str,
        texts: Sequence[str],
        *,
        how: Literal["azr_call", "azr_call_with", "azr_literal"] = "azr_call",
        output_bytes: int = 2**14,
    ) -> tuple[Outcome, ...]:
        """Evaluate calls or answers after a program, in one process, in this order.

        `how` is the function of `azr.evals.inside.values` that reads the texts. A value has at most `output_bytes`.

        Returns:
            one outcome per text; only `report` may read its value.
        """
        whole, inputs = f"{program}\n\n{source('values')}", tuple(map(repr, texts))
        job = Job(whole, inputs, entry=how, policy=_POLICY, limits=self._limits(output_bytes))
        return await self.sandbox.run(job)

    async def printed(self, program: str, inputs: Sequence[str], *, output_bytes: int) -> tuple[Outcome, ...]:
        """Run a script on each standard input, each time in a process of its own, up to the first failure."""
        outcomes: list[Outcome] = []
        for text in inputs:
            job = Job(program, (text,), mode=Mode.SCRIPT, policy=_POLICY, limits=self._limits(output_bytes))
            outcomes += await self.sandbox.run(job)
            if not outcomes[-1].ok:
                break
        return tuple(outcomes)

    async def report(
        self,
        tests: str,
        entry: str,
        values: Mapping[str, str],
        *,
        prelude: str = "",
        by_source: bool = True,
        cases: Sequence[tuple[str, str]] = (),
    ) -> dict[str, Any]:
        """Run published tests on the values of an answer; see `azr.evals.inside.replay`.

        Returns:
            `wanted`, `failures` and `assertions`.
        """
        about = {"tests": tests, "entry": entry, "prelude": prelude, "by_source": by_source}
        request = about | {"values": values, "cases": cases}
        job = Job(source("replay"), (json.dumps(request),), mode=Mode.SCRIPT, policy=_POLICY, limits=_TEST_LIMITS)
        (outcome,) = await self.sandbox.run(job)
        if outcome.value is None:
            why = f"the tests did not end: {outcome.reason} {outcome.error or outcome.detail}"
            return {"wanted": [], "failures": [why], "assertions": 0}
        return dict(json.loads(outcome.value))

    def limited(self) -> Sandbox:
        """The sandbox for a judge with its own limits: the stricter of them and of this runner's time limits apply."""
        return _Limited(self.sandbox, self._limits(0))

    def _limits(self, output_bytes: int) -> Limits:
        return Limits(
            wall_seconds=SLACK * self.seconds,
            cpu_seconds=ceil(self.seconds),
            memory_bytes=self.memory_mb * 2**20,
            output_bytes=output_bytes,
        )


@dataclass(frozen=True, slots=True)
class _Limited:
    sandbox: Sandbox
    limits: Limits

    async def run(self, job: Job) -> tuple[Outcome, ...]:
        wall = min(job.limits.wall_seconds, self.limits.wall_seconds)
        cpu = min(job.limits.cpu_seconds, self.limits.cpu_seconds)
        limits = replace(job.limits, wall_seconds=wall, cpu_seconds=cpu)
        return await self.sandbox.run(replace(job, limits=limits))

    async def close(self) -> None:
        """Nothing: the sandbox is closed by its owner."""
