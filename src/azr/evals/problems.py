"""What a benchmark is: problems, each with its prompt, its gold answer and a judge that keeps the key to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from azr.evals.runner import Runner
from azr.types import Verdict


class Form(StrEnum):
    """What an answer is."""

    BODY = "body"
    """The rest of the program that the stem begins."""
    PROGRAM = "program"
    """A program that defines the function `Problem.entry`."""
    SCRIPT = "script"
    """A program that reads standard input and prints."""
    OUTPUT = "output"
    """A literal: what a call returns."""
    INPUT = "input"
    """What stands between the parentheses of a call."""
    TEXT = "text"
    """The completion as it is: the judge reads it itself."""


class Judge(Protocol):
    """Decides on answers. It holds the answer key, which never enters the process that runs an answer."""

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge an answer. No text whatever may raise."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a benchmark.

    Attributes:
        id: unique in its benchmark; the publisher's own where there is one.
        form: what an answer is.
        stem: text that a base model continues.
        request: the same problem put as a request.
        gold: a right answer, in the problem's form; empty where none is published.
        judge: decides on answers.
        entry: name of the function that is asked for, where one is.
        key: what somebody would print who had read the tests; only `azr.evals.variants` uses it.
        group: kind or difficulty, counted separately in the results; empty for none.
    """

    id: str
    form: Form
    stem: str
    request: str
    gold: str
    judge: Judge
    entry: str = ""
    key: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Problems under a name.

    Attributes:
        name: as on the command line.
        problems: in the publisher's order.
        source: where they came from, for the record.
        errata: problems that are left out, by id, with the reason.
        baselines: accuracies to beat, by name, then by group, for "all" and for "mean of kinds"; of self-play sets.
    """

    name: str
    problems: Sequence[Problem]
    source: str
    errata: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
