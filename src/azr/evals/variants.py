"""Broken answers that must score nothing: the proof that a benchmark cannot be passed without solving it."""

import ast
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from azr.evals import forgeries
from azr.evals.problems import Form, Problem

CONSTANT = "'no problem has this answer'"
_CONSTANT_TEXT = "{('no problem has', 'this answer'): None}"
"""The same for self-play sets, where it may be an input: few programs accept it, and many accept a string."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to be wrong."""

    answers: Callable[[Problem], list[str]]  # broken answers to a problem, in its form; each has to fail
    seconds: float | None = None  # time limit of the programs; None for the evaluation's


def _single(
    statements: Callable[[Problem, Callable[[str], str]], str], expression: Callable[[Problem], str]
) -> Callable[[Problem], list[str]]:
    """One broken answer per problem: `expression` where a value is asked for, else `statements`.

    These are the body of a function, or a script. They give x by `give(x)`, which returns or prints x.
    """

    def answers(problem: Problem) -> list[str]:
        if problem.form in (Form.OUTPUT, Form.INPUT):
            return [expression(problem)]
        if problem.form is Form.SCRIPT:
            return [statements(problem, "print({})".format)]
        body = statements(problem, "return {}".format)
        if problem.form is Form.TEXT:
            return [_text(problem, body, expression(problem))]
        return [_function(problem, body)]

    return answers


def _forged(problem: Problem) -> list[str]:
    """All forgeries for a problem's form; equally many for each problem of a benchmark."""
    bodies = forgeries.FUNCTIONS.values()
    match problem.form:
        case Form.INPUT:
            return forgeries.inputs(problem.key)
        case Form.OUTPUT:
            return forgeries.outputs(problem.key, forgeries.call_of(problem.stem))
        case Form.SCRIPT:
            return list(forgeries.SCRIPTS.values())
        case Form.TEXT:
            # A correct program among the expressions would be found there, and pass.
            known = "0" if _PROGRAM.search(problem.gold) else bare(problem.key)
            expressions = [*forgeries.inputs("True"), *forgeries.outputs(known, "f()")]
            programs = [_text(problem, body, _function(problem, body)) for body in bodies]
            return programs + [f"<answer>{expression}</answer>" for expression in expressions]
    return [_function(problem, body) for body in bodies]


def _function(problem: Problem, body: str) -> str:
    """A body as a whole function if that is the problem's form; an empty one stays empty."""
    body = textwrap.indent(body, "    ")
    if not body or problem.form is Form.BODY:
        return body
    # A program of a self-play domain is named by the last function that the gold one defines.
    defined = re.findall(r"^def (\w+)", problem.gold, re.MULTILINE)
    entry = problem.entry or (defined or ["f"])[-1]
    return f"def {entry}(*args, **kwargs):\n{body}"


_PROGRAM = re.compile(r"(?:<program>|```python)\n(.*?)\n(?:</program>|```)", re.DOTALL)
"""The program in an answer of a self-play domain."""
_ANSWER = re.compile(r"<answer>(.*)</answer>", re.DOTALL)


def _text(problem: Problem, body: str, expression: str) -> str:
    """A completion like the gold one, with another program or another value in its place."""
    program = _PROGRAM.search(problem.gold)
    if program is None:
        return f"<answer>{expression}</answer>"
    return problem.gold[: program.start(1)] + _function(problem, body) + problem.gold[program.end(1) :]


def bare(text: str) -> str:
    """The answer in a completion without its tags: with them, the text around it would not count."""
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
"""CRUXEval problems that nearly any input solves. No constant is wrong for all three, so each has its own."""


def _constant(problem: Problem) -> str:
    """The same wrong value everywhere; for an input, None for every argument of the function."""
    if problem.form is not Form.INPUT:
        return _CONSTANT_TEXT if problem.form is Form.TEXT else CONSTANT
    call = ast.parse(f"f({problem.gold}\n)", mode="eval").body
    assert isinstance(call, ast.Call)
    return WRONG_INPUTS.get(problem.id) or ", ".join(["None"] * (len(call.args) + len(call.keywords) or 1))


_ANYTHING = "type('Anything', (), {'__eq__': lambda *_: True, '__ne__': lambda *_: False, '__hash__': lambda _: 0})()"

VARIANTS = {
    "empty": Variant(_single(lambda p, give: "", lambda p: "")),
    "constant": Variant(_single(lambda p, give: give(CONSTANT), _constant)),
    "equal": Variant(_single(lambda p, give: give(_ANYTHING), lambda p: _ANYTHING)),
    "exit": Variant(_single(lambda p, give: "import sys\nsys.exit(0)", lambda p: "__import__('sys').exit(0)")),
    # Reads the test from the frames below and returns what it expects.
    "frame": Variant(
        _single(
            lambda p, give: _FRAME + give("eval(found[0]) if found else found"),
            lambda p: "__import__('sys')._getframe(1).f_locals",
        )
    ),
    # Prints the expected output. Any limit stops a program that never ends, so a short one will do.
    "loop": Variant(
        _single(
            lambda p, give: f"print({bare(p.key)!r})\nwhile True:\n    pass",
            lambda p: f"[print({bare(p.key)!r}) for _ in iter(int, 1)]",
        ),
        seconds=0.02,
    ),
    "forged": Variant(_forged),
}
"""By name on the command line."""
