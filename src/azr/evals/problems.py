"""Benchmarks and their problems, each with its prompt, gold answer and judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from azr.evals.runner import Runner
from azr.types import Verdict


class Form(StrEnum):
    """Forms of answers."""

    BODY = "body"  # the rest of the program that the stem begins
    PROGRAM = "program"  # defines the function `Problem.entry`
    SCRIPT = "script"  # a program that reads standard input and prints
    OUTPUT = "output"  # a literal: the value of a call
    INPUT = "input"  # the text between the parentheses of a call
    TEXT = "text"  # the whole completion, which the judge reads itself


class Judge(Protocol):
    """Decides on answers. It holds the answer key, which never enters the process that runs an answer."""

    async def judge(self, answer: str, runner: Runner) -> Verdict:
        """Judge an answer; no text may raise."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a benchmark."""

    id: str  # unique in its benchmark; the publisher's own if there is one
    form: Form  # of an answer
    stem: str  # text that a base model continues
    request: str  # the same problem as a request
    gold: str  # a correct answer in the problem's form; empty if none is published
    judge: Judge  # decides on answers
    entry: str = ""  # name of the function to write, if there is one
    key: str = ""  # what an answer would print that had read the tests; only for `azr.evals.variants`
    group: str = ""  # kind or difficulty, reported separately; empty for none


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Problems under a name."""

    name: str  # as on the command line
    problems: Sequence[Problem]  # in the publisher's order
    errata: Mapping[str, str] = field(default_factory=dict)  # ids of problems that are left out, with the reason
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Accuracies to beat, by name and then by group, "all" and "mean of kinds"; only of self-play sets."""
