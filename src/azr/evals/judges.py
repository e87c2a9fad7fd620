"""Judges: published tests on recorded values, single values, and standard output."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from azr.evals.inside import source
from azr.evals.runner import Runner
from azr.sandbox.base import Outcome
from azr.types import Verdict

CORRECT = Verdict(True, 1.0, "correct")
_NO_ANSWER = Verdict(False, 0.0, "no_answer")
_NOTHING_ASSERTED = Verdict(True, 0.0, "no_assertions")
_LARGE = 2**17
"""Bytes of a value of contest problems and of EvalPlus, at most."""
_ROUNDS = 16
"""How often tests may request calls that depend on the values of earlier ones."""


@dataclass(frozen=True, slots=True)
class PublishedTests:
    """Assertions about a function, as their publisher wrote them.

    The tests run without the answer, on values that it returned in another process. If they need a call that was not
    made yet, as `f(f(x))` does, it is made and they run again.
    """

    entry: str  # the tested function
    tests: str  # source of the assertions
    prelude: str = ""  # source that runs before the tests
    setup: str = ""  # source that runs after the answer, before it is called
    by_source: bool = True  # the answer gets calls as written in the tests; else the tests compute the arguments

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a program."""
        if not answer.strip():
            return _NO_ANSWER
        values: dict[str, str] = {}
        for _ in range(_ROUNDS):
            report = await runner.report(self.tests, self.entry, values, prelude=self.prelude, by_source=self.by_source)
            wanted = report["wanted"]
            if not wanted:
                return _verdict(report)
            # Earlier calls are repeated, so that all calls are one job and share its limits.
            found = await _values(f"{answer}\n\n{self.setup}", [*values, *wanted], runner)
            if isinstance(found, Verdict):
                return found
            values = found
        return Verdict(True, 0.0, "wrong", f"the tests still request new calls after {_ROUNDS} rounds")


@dataclass(frozen=True, slots=True)
class ReferenceTests:
    """Calls of a function, whose values have to match those of a reference solution."""

    entry: str  # the tested function
    calls: Sequence[str]  # as source
    reference: str  # the reference solution
    settings: str  # JSON for `azr_check` of `azr.evals.inside.plus`

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a program."""
        if not answer.strip():
            return _NO_ANSWER
        # The answer's limits do not apply to the reference.
        generous = replace(runner, seconds=60.0, memory_mb=2048)
        references = await generous.values(self.reference, self.calls, output_bytes=_LARGE)
        cases = [(call, of.value) for call, of in zip(self.calls, references, strict=True) if of.value is not None]
        return await _on_cases(self.entry, answer, cases, f"azr_check({self.settings!r})", "plus", runner)


@dataclass(frozen=True, slots=True)
class CaseTests:
    """Calls of a function with their expected values; a tuple equals the list that JSON makes of it."""

    entry: str  # the tested function
    cases: Sequence[tuple[str, str]]  # calls as source, with the published value as JSON
    before: str = ""  # source that runs before the answer

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a program."""
        if not answer.strip():
            return _NO_ANSWER
        return await _on_cases(self.entry, f"{self.before}\n{answer}", self.cases, "azr_check()", "cases", runner)


@dataclass(frozen=True, slots=True)
class OutputIs:
    """A literal that has to equal a published one, by Python's ==."""

    output: str

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a literal."""
        if not answer.strip():
            return _NO_ANSWER
        (outcome,) = await runner.values("", [answer], how="azr_literal")
        return await _compared(outcome, self.output, runner)


@dataclass(frozen=True, slots=True)
class InputGives:
    """Arguments for which a published program has to return a published output; any that do are correct."""

    program: str
    output: str

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge the text between the parentheses of a call of `f`."""
        (outcome,) = await runner.values(self.program, [answer], how="azr_call_with")
        return await _compared(outcome, self.output, runner)


@dataclass(frozen=True, slots=True)
class Prints:
    """A script that has to print a published output for each standard input."""

    inputs: Sequence[str]  # texts for standard input
    outputs: Sequence[str]  # expected output for each
    before: str = ""  # source that runs before the answer

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge a script."""
        if not answer.strip():
            return _NO_ANSWER
        outcomes = await runner.printed(f"{self.before}\n{answer}", self.inputs, output_bytes=_LARGE)
        for outcome, expected in zip(outcomes, self.outputs, strict=False):
            if outcome.value is None:
                return _failed(outcome)
            if not same_print(outcome.value, expected):
                return Verdict(True, 0.0, "wrong")
        return CORRECT if self.outputs else _NOTHING_ASSERTED


def same_print(printed: str, expected: str) -> bool:
    """Whether two outputs are equal except for white space around lines and the notation of numbers."""
    ours, theirs = printed.strip().splitlines(), expected.strip().splitlines()
    return len(ours) == len(theirs) and all(
        one.strip() == other.strip() or _same_numbers(one.split(), other.split())
        for one, other in zip(ours, theirs, strict=True)
    )


def _same_numbers(one: Sequence[str], other: Sequence[str]) -> bool:
    try:
        return [Decimal(word) for word in one] == [Decimal(word) for word in other]
    except InvalidOperation:
        return False


def _failed(outcome: Outcome) -> Verdict:
    return Verdict(True, 0.0, str(outcome.reason), outcome.error or outcome.detail)


async def _values(
    program: str, calls: Sequence[str], runner: Runner, output_bytes: int = 2**14
) -> dict[str, str] | Verdict:
    """The values of calls, or the verdict on a program if one of them has none."""
    outcomes = await runner.values(program, calls, output_bytes=output_bytes)
    values: dict[str, str] = {}
    for call, outcome in zip(calls, outcomes, strict=True):
        if outcome.value is None:
            return _failed(outcome)
        values[call] = outcome.value
    return values


async def _on_cases(
    entry: str, program: str, cases: Sequence[tuple[str, str]], tests: str, prelude: str, runner: Runner
) -> Verdict:
    """Compare the values of calls with those expected, by a program of `azr.evals.inside`."""
    values = await _values(program, [call for call, _ in cases], runner, _LARGE)
    if isinstance(values, Verdict):
        return values
    report = await runner.report(tests, entry, values, prelude=source(prelude), by_source=False, cases=cases)
    return _verdict(report)


async def _compared(outcome: Outcome, output: str, runner: Runner) -> Verdict:
    if outcome.value is None:
        return _failed(outcome)
    return _verdict(await runner.report(f"assert f() == {output}", "f", {"f()": outcome.value}))


def _verdict(report: dict[str, list[str]]) -> Verdict:
    if report["failures"]:
        return Verdict(True, 0.0, "wrong", report["failures"][0])
    return CORRECT if report["assertions"] else _NOTHING_ASSERTED
