"""The prompts of the primes domain: in words for the styles r1 and chat, a short tagged form for compact.

Compact prompts have three parts: the kind, what is given, and the role:

    <deduction>         <induction>         <abduction>
    x = 3, p = 7        x = 3, y = 5        y = 5, p = 7
    <solve>             x = 2, y = 4        y = 2, p = 5
                        <solve>             <propose>
"""

from collections.abc import Sequence

from azr.domains.primes.config import PrimesConfig
from azr.types import ABDUCTION, DEDUCTION, INDUCTION, Kind, Role, Task

_PROPOSE = {
    DEDUCTION: "A solver will see x and p, and must find y.",
    ABDUCTION: "A solver will see y and p, and must find x.",
    INDUCTION: "A solver will see the pairs (x, y) that belong to your values of x, and must find p.",
}
_RULES = {
    DEDUCTION: "write x and p; x is a whole number with 1 <= x < p",
    ABDUCTION: "write y and p; y is a whole number with 1 <= y < p",
    INDUCTION: "write p and exactly {pairs} different values of x; each is a whole number with 1 <= x < p",
}
_SOLVE = {
    DEDUCTION: "Find the whole number y with 1 <= y < p and x * y = 1 (mod p).",
    ABDUCTION: "Find the whole number x with 1 <= x < p and x * y = 1 (mod p).",
    INDUCTION: (
        "Find a prime number p such that x * y = 1 (mod p) for every pair below. Any prime that satisfies all pairs is"
        " right."
    ),
}


def propose(config: PrimesConfig, kind: Kind, example: str, references: Sequence[str]) -> str:
    """Ask for a new task, with the example of a valid proposal, and the references as their proposers wrote them."""
    if config.style == "compact":
        return _compact(kind, references, Role.PROPOSE)
    known = "\n".join(f"- {reference}" for reference in references)
    return f"""\
Invent a new puzzle about multiplication modulo a prime: x * y = 1 (mod p). {_PROPOSE[kind]}
It should take real thought to solve, and still be solvable by careful calculation alone.

Rules
- In your answer, {_RULES[kind].format(pairs=config.induction_pairs)}.
- p is a prime number from {config.min_prime} to {config.max_prime}.
{f"- It must differ from these puzzles:{chr(10)}{known}{chr(10)}" if references else ""}
For example, in this form: <answer>{example}</answer>"""


def solve(config: PrimesConfig, task: Task) -> str:
    """Pose a task without its gold value."""
    p, pairs = task.data["p"], task.data["pairs"]
    if task.kind == INDUCTION:
        shown = [f"x = {x}, y = {y}" for x, y in pairs]
    else:
        ((x, y),) = pairs
        shown = [f"x = {x}, p = {p}" if task.kind == DEDUCTION else f"y = {y}, p = {p}"]
    if config.style == "compact":
        return _compact(task.kind, shown, Role.SOLVE)
    return "\n".join([_SOLVE[task.kind], "", *shown, "", "For example, in this form: <answer>12</answer>"])


def _compact(kind: Kind, lines: Sequence[str], role: Role) -> str:
    return "".join(f"{line}\n" for line in (f"<{kind}>", *lines, f"<{role}>"))
