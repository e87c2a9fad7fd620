"""Broken answers that must score nothing: the proof that a benchmark cannot be passed without solving it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from azr.evals import forgeries
from azr.evals.problems import Form, Problem

CONSTANT = "'no problem has this answer'"
_CONSTANT_TEXT = "{('no problem has', 'this answer'): None}"
"""The same for a self-play domain, where it may be an input: few programs take it, and many take a text."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to be wrong.

    Attributes:
        name: as on the command line.
        about: what it does, for people.
        statements: makes the body of a function (or a script) that does it; `{give(x)}` returns (or prints) x.
        expression: the same as an answer that should be a value.
        seconds: time limit, where it needs one: a program that never ends is stopped by any, so a short one will do.
    """

    name: str
    about: str
    statements: Callable[[Problem, Callable[[str], str]], str]
    expression: Callable[[Problem], str]
    seconds: float | None = None

    def answers(self, problem: Problem) -> list[str]:
        """The broken answer to a problem, in the problem's form; several, where there are several ways to be so."""
        if problem.form in (Form.OUTPUT, Form.INPUT):
            return [self.expression(problem)]
        if problem.form is Form.SCRIPT:
            return [self.statements(problem, lambda value: f"print({value})")]
        if problem.form is Form.TEXT:
            return [_text(problem, self._body(problem), self.expression(problem))]
        return [_function(problem, self._body(problem))]

    def _body(self, problem: Problem) -> str:
        return self.statements(problem, lambda value: f"return {value}")


@dataclass(frozen=True, slots=True)
class Forged:
    """All the forgeries that there are for a problem's form; see `azr.evals.forgeries`."""

    name: str = "forged"
    about: str = "reaches for the judge: forges outcomes, rebinds code, closes the call that it should fill"
    seconds: float | None = None

    def answers(self, problem: Problem) -> list[str]:
        """The forgeries of a problem, in the problem's form: equally many for each problem of a benchmark."""
        match problem.form:
            case Form.INPUT:
                return forgeries.inputs(problem.key)
            case Form.OUTPUT:
                return forgeries.outputs(problem.key, forgeries.call_of(problem.stem))
            case Form.SCRIPT:
                return list(forgeries.SCRIPTS.values())
            case Form.TEXT:
                # A whole program among the expressions would be found there, and be right.
                known = "0" if _PROGRAM.search(problem.gold) else bare(problem.key)
                expressions = [*forgeries.inputs("True"), *forgeries.outputs(known, "f()")]
                bodies = forgeries.FUNCTIONS.values()
                return [
                    *(_text(problem, body, _function(problem, body)) for body in bodies),
                    *(f"<answer>{expression}</answer>" for expression in expressions),
                ]
        return [_function(problem, body) for body in forgeries.FUNCTIONS.values()]


def _function(problem: Problem, body: str) -> str:
    """A body as a whole function, where that is the problem's form; nothing stays nothing."""
    body = textwrap.indent(body, "    ")
    if not body or problem.form is Form.BODY:
        return body
    return f"def {problem.entry or _entry(problem)}(*args, **kwargs):\n{body}"


_PROGRAM = re.compile(r"(?:<program>|```python)\n(.*?)\n(?:</program>|```)", re.DOTALL)
"""The program in an answer of a self-play domain."""
_ANSWER = re.compile(r"<answer>(.*)</answer>", re.DOTALL)


def _entry(problem: Problem) -> str:
    """The function that a program of a self-play domain defines last."""
    found = re.findall(r"^def (\w+)", problem.gold, re.MULTILINE)
    return found[-1] if found else "f"


def _text(problem: Problem, body: str, expression: str) -> str:
    """A completion like the gold one, with another program or another value in its place."""
    program = _PROGRAM.search(problem.gold)
    if program is None:
        return f"<answer>{expression}</answer>"
    return problem.gold[: program.start(1)] + _function(problem, body) + problem.gold[program.end(1) :]


def bare(text: str) -> str:
    """The answer in a completion, without its tags: with them, whatever stands around it would not count."""
    found = _ANSWER.search(text)
    return found[1] if found else text


_FRAME = """\
import re, sys
frame, found = sys._getframe(), []
while frame is not None:
    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
        found += re.findall(r"assert.*==(.*)", str(value))
    frame = frame.f_back
"""


WRONG_INPUTS = {"sample_43": "0", "sample_108": "[None]", "sample_535": "0"}
"""CRUXEval problems that nearly any input solves: no one constant is wrong for all three, so each gets one that is."""


def _constant(problem: Problem) -> str:
    """The same wrong value everywhere; to find an input, None for every argument of the function."""
    if problem.form is not Form.INPUT:
        return _CONSTANT_TEXT if problem.form is Form.TEXT else CONSTANT
    call = ast.parse(f"f({problem.gold}\n)", mode="eval").body
    assert isinstance(call, ast.Call), "a gold input fills a call"
    return WRONG_INPUTS.get(problem.id) or ", ".join(["None"] * (len(call.args) + len(call.keywords) or 1))


_ANYTHING = "type('Anything', (), {'__eq__': lambda *_: True, '__ne__': lambda *_: False, '__hash__': lambda _: 0})()"

VARIANTS: dict[str, Variant | Forged] = {
    variant.name: variant
    for variant in (
        Variant("empty", "no text at all", lambda p, give: "", lambda p: ""),
        Variant(
            "constant",
            "the same wrong constant everywhere",
            lambda p, give: give(CONSTANT),
            _constant,
        ),
        Variant("equal", "an object whose __eq__ is always true", lambda p, give: give(_ANYTHING), lambda p: _ANYTHING),
        Variant(
            "exit",
            "calls sys.exit(0)",
            lambda p, give: "import sys\nsys.exit(0)",
            lambda p: "__import__('sys').exit(0)",
        ),
        Variant(
            "frame",
            "reads the test from the frames below it and returns what it expects",
            lambda p, give: _FRAME + give("eval(found[0]) if found else found"),
            lambda p: "__import__('sys')._getframe(1).f_locals",
        ),
        Variant(
            "loop",
            "prints the expected output and loops",
            lambda p, give: f"print({bare(p.key)!r})\nwhile True:\n    pass",
            lambda p: f"[print({bare(p.key)!r}) for _ in iter(int, 1)]",
            seconds=0.02,
        ),
        Forged(),
    )
}
