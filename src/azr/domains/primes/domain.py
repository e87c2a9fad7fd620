"""The primes domain: x * y = 1 (mod p), where deduction asks for y, abduction for x, and induction for p.

`Task.data` contains p and the pairs [x, y]: several for induction, else one.
"""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from azr.config import SandboxConfig
from azr.domains.answers import MalformedError, RejectedError
from azr.domains.base import digest
from azr.domains.exact import WITHHELD, Data, ExactDomain
from azr.domains.primes import prompts
from azr.domains.primes.arithmetic import euclid, inverse, is_prime, primes_up_to, satisfies
from azr.domains.primes.config import PrimesConfig
from azr.types import DEDUCTION, INDUCTION, JSON, Kind, Task

_FIELD = re.compile(r"([xyp])\s*=")
_NUMBERS = re.compile(r"\s*[0-9]+(?:\s*,\s*[0-9]+)*\s*")
_ANSWER = re.compile(r"\$?\s*(?:[xyp]\s*=\s*)?([0-9]+)\s*\$?\.?")
_LONGEST = 18
"""Digits of the longest number that is parsed; longer ones are out of every range."""


class PrimesDomain(ExactDomain[PrimesConfig]):
    """Implements `azr.domains.base.Domain`."""

    def __init__(self, config: PrimesConfig, sandbox: SandboxConfig) -> None:
        super().__init__(config, sandbox)
        # Not the first sample: that is the seed, which may be among the references.
        self._example = cache(lambda kind: proposal(self.samples(kind, 2)[-1]))
        self._primes = [prime for prime in primes_up_to(config.max_prime) if prime >= config.min_prime]

    # Tasks

    def draw(self, kind: Kind, rng: np.random.Generator) -> Data:
        """A prime with a probability proportional to p - 1, and distinct x; for one pair, uniform over all (x, p)."""
        count = self._pairs(kind)
        primes = [prime for prime in self._primes if prime > count]
        weights = np.array(primes, dtype=np.float64) - 1
        prime = int(rng.choice(primes, p=weights / weights.sum()))
        return _data(kind, prime, [int(x) + 1 for x in rng.choice(prime - 1, size=count, replace=False)])

    def withheld(self, task: Task) -> bool:
        """A withheld pair is so in all kinds and in both directions, so that no task reveals the answer to another."""
        return any(is_withheld(task.data["p"], x, y) for x, y in task.data["pairs"])

    def shape(self, kind: Kind, data: Data) -> str:
        """Tasks on one prime are near duplicates."""
        return str(data["p"])

    def complexity(self, task: Task) -> float:
        """Steps of Euclid's algorithm / 10, the mean over the pairs."""
        p, pairs = task.data["p"], task.data["pairs"]
        return sum(len(euclid(x, p)) for x, _ in pairs) / len(pairs) / 10

    def length(self, task: Task) -> int:
        """Steps of Euclid's algorithm on p and each number that is given."""
        letter = "xy".index(given(task.kind))
        return sum(len(euclid(pair[letter], task.data["p"])) for pair in task.data["pairs"])

    def similarity(self, one: Task, other: Task) -> float:
        """The share of pairs that two tasks on the same prime have in common, in either direction."""
        if one.data["p"] != other.data["p"]:
            return 0.0
        pairs, others = ({tuple(sorted(pair)) for pair in task.data["pairs"]} for task in (one, other))
        return len(pairs & others) / len(pairs | others)

    def trivial(self, task: Task) -> str | None:
        """Tell "self_inverse" (every x is its own inverse, as 1 and p - 1 are) from other tasks."""
        return "self_inverse" if all(x == y for x, y in task.data["pairs"]) else None

    # Proposing

    def propose_text(self, kind: Kind, references: Sequence[Task]) -> str:
        return prompts.propose(self.config, kind, self._example(kind), [proposal(task) for task in references])

    def parse(self, kind: Kind, text: str) -> Data:
        """Read `x = 3, p = 7`, `y = 5, p = 7` or `p = 7, x = 3, 2, 6`, and check every rule exactly."""
        fields = _fields(text)
        letter = given(kind)
        if set(fields) != {letter, "p"}:
            raise MalformedError("wrong_fields")
        (p, *more), numbers = fields["p"], fields[letter]
        if more or len(numbers) != self._pairs(kind):
            raise MalformedError("wrong_count")
        if not self.config.min_prime <= p <= self.config.max_prime:
            raise RejectedError("p_out_of_range", f"p = {p}")
        if not is_prime(p):
            raise RejectedError("p_not_prime", f"p = {p}")
        if not all(1 <= number < p for number in numbers):
            raise RejectedError(f"{letter}_out_of_range", f"{letter} = {numbers}, p = {p}")
        if len(set(numbers)) != len(numbers):
            raise RejectedError("repeated_pairs")
        return _data(kind, p, numbers)

    # Solving

    def solve_text(self, task: Task) -> str:
        return prompts.solve(self.config, task)

    def answer(self, task: Task) -> str:
        """The number that is asked for."""
        (x, y), *_ = task.data["pairs"]
        return str(task.data["p"] if task.kind == INDUCTION else y if task.kind == DEDUCTION else x)

    def correct(self, task: Task, answer: str) -> bool:
        """The number itself; for induction any prime that satisfies all pairs."""
        found = _ANSWER.fullmatch(answer)
        if found is None:
            raise MalformedError("no_number")
        if len(found[1]) > _LONGEST:
            return False
        number = int(found[1])
        if task.kind == INDUCTION:
            return satisfies(number, [(x, y) for x, y in task.data["pairs"]])
        return number == int(self.answer(task))

    def _pairs(self, kind: Kind) -> int:
        return self.config.induction_pairs if kind == INDUCTION else 1


def given(kind: Kind) -> str:
    """Which of x and y the proposer writes; the other is computed."""
    return "x" if kind in (DEDUCTION, INDUCTION) else "y"


def proposal(task: Task) -> str:
    """A task as its proposer would write it."""
    letter = given(task.kind)
    numbers = ", ".join(str(pair["xy".index(letter)]) for pair in task.data["pairs"])
    p = f"p = {task.data['p']}"
    return f"{p}, {letter} = {numbers}" if task.kind == INDUCTION else f"{letter} = {numbers}, {p}"


def is_withheld(p: int, x: int, y: int) -> bool:
    """Whether the pair x * y = 1 (mod p), in either direction, is kept for the held-out sets."""
    return int(digest(f"{p} {min(x, y)}"), 16) % WITHHELD == 0


def _data(kind: Kind, p: int, numbers: Sequence[int]) -> dict[str, JSON]:
    pairs = [[number, inverse(number, p)] for number in numbers]
    return {"p": p, "pairs": pairs if given(kind) == "x" else [pair[::-1] for pair in pairs]}


def _fields(text: str) -> dict[str, list[int]]:
    """`x = 3, p = 7` as {"x": [3], "p": [7]}, in any order and spacing.

    Raises:
        MalformedError: there is anything else, or a letter twice.
        RejectedError: a number is too long.
    """
    before, *parts = _FIELD.split(text)
    fields: dict[str, list[int]] = {}
    for letter, part in zip(parts[::2], parts[1::2], strict=True):
        numbers = part.strip().removesuffix(",")
        if letter in fields or not _NUMBERS.fullmatch(numbers):
            raise MalformedError("wrong_form")
        digits = [number.strip() for number in numbers.split(",")]
        if any(len(number) > _LONGEST for number in digits):
            raise RejectedError("too_long", "a number of more than 18 digits")
        fields[letter] = [int(number) for number in digits]
    if before.strip() or not fields:
        raise MalformedError("wrong_form")
    return fields
