"""Prompts: the examples that they give are accepted by the parser, and no prompt gives the answer away."""

import re

import numpy as np
import pytest

from azr.config import SandboxConfig
from azr.domains.answers import answer_of
from azr.domains.base import ProposalPrompt
from azr.domains.python.building import Foundation
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.prompts import propose_prompt, solve_prompt
from azr.domains.python.tasks import IDENTITY, program_task
from azr.types import ABDUCTION, DEDUCTION, ERROR, INDUCTION

KINDS = (DEDUCTION, ABDUCTION, INDUCTION, ERROR)
STYLES = ("r1", "chat", "compact")
PROGRAM = "def f(a, b):\n    return a * 7 + b"


def config(style: str) -> PythonConfig:
    return PythonConfig(style=style, kinds=KINDS, induction_inputs=4, induction_shown=2)


def make_task(kind: str):
    if kind == INDUCTION:
        inputs = ["1, 2", "3, 4", "5, 6", "7, 8"]
        outputs = ["9", "25", "41", "57"]
        data = {"program": PROGRAM, "message": "weigh a", "inputs": inputs, "outputs": outputs, "shown": 2}
    else:
        answer = {"error": "NoError"} if kind == ERROR else {"output": "25"}
        data = {"program": PROGRAM, "input": "3, 4", **answer}
    return program_task(kind, data)


def ask(domain: PythonDomain, kind: str, references) -> ProposalPrompt:
    return domain.propose_prompt(kind, references, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["r1", "chat"])
async def test_the_example_in_a_propose_prompt_is_a_valid_proposal(style, kind, sandbox):
    domain = PythonDomain(config(style), SandboxConfig())
    source = make_task(DEDUCTION if kind == INDUCTION else kind)
    asked = ask(domain, kind, [source])
    if kind == INDUCTION:  # the example's inputs are for another function, of a list and a number
        adder = program_task(
            DEDUCTION, {"program": "def f(a, b):\n    return sum(a[b:])", "input": "[1], 0", "output": "1"}
        )
        asked = ask(domain, kind, [adder])
    proposal = await domain.validate(asked, answer_in(asked.text), sandbox)
    assert proposal.verdict.reason == "accepted"


@pytest.mark.parametrize("kind", [DEDUCTION, ABDUCTION, ERROR])
async def test_a_reference_in_a_compact_prompt_is_a_valid_proposal(kind, sandbox):
    domain = PythonDomain(config("compact"), SandboxConfig())
    asked = ask(domain, kind, [make_task(kind)])
    shown = re.search(r"<program>.*</input>", asked.text, re.DOTALL)
    proposal = await domain.validate(asked, f"<answer>{shown[0]}</answer>", sandbox)
    assert proposal.task.data == make_task(kind).data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["r1", "chat"])
async def test_the_example_in_a_solve_prompt_is_well_formed(style, kind, sandbox):
    domain = PythonDomain(config(style), SandboxConfig())
    task = make_task(kind)
    verdict = await domain.verify(task, answer_in(domain.solve_prompt(task)), sandbox)
    assert verdict.well_formed
    assert verdict.reason in ("wrong", "error")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
def test_a_solve_prompt_shows_what_is_known_and_hides_the_answer(style, kind):
    prompt = solve_prompt(config(style), make_task(kind))
    known, hidden = {
        DEDUCTION: (["a * 7 + b", "3, 4"], ["25"]),
        ABDUCTION: (["a * 7 + b", "25"], ["3, 4"]),
        INDUCTION: (["weigh a", "1, 2", "9", "3, 4", "25"], ["a * 7 + b", "5, 6", "41", "7, 8", "57"]),
        ERROR: (["a * 7 + b", "3, 4"], []),
    }[kind]
    for text in known:
        assert text in prompt
    for text in hidden:
        assert text not in prompt


@pytest.mark.parametrize("kind", [DEDUCTION, ABDUCTION, ERROR])
@pytest.mark.parametrize("style", STYLES)
def test_a_propose_prompt_shows_every_reference(style, kind):
    references = [
        program_task(kind, make_task(kind).data | {"program": f"def f(a, b):\n    return a + {n}"})
        for n in range(900, 906)
    ]
    prompt = propose_prompt(config(style), kind, references)
    assert all(f"return a + {n}" in prompt for n in range(900, 906))


@pytest.mark.parametrize("style", STYLES)
def test_an_induction_proposal_shows_its_program(style):
    assert PROGRAM in propose_prompt(config(style), INDUCTION, [make_task(DEDUCTION)])


@pytest.mark.parametrize("style", STYLES)
def test_a_composite_prompt_shows_its_helper(style):
    helper = "def g(x):\n    return x"
    assert helper in propose_prompt(config(style), DEDUCTION, [], Foundation("composite", helper, ()))


@pytest.mark.parametrize(
    ("style", "size", "way", "expected"),
    [
        ("compact", 2, "extended", "<extend>2\n"),
        ("compact", 12, None, "<propose>12\n"),
        ("chat", 1, "extended", "- Write exactly 1 statement.\n"),
        ("r1", 3, None, "- Write exactly 3 statements in the body of `f`, without counting its `return`.\n"),
    ],
)
def test_a_prompt_asks_for_a_number_of_statements(style, size, way, expected):
    foundation = way and Foundation(way, PROGRAM, ())
    assert expected in propose_prompt(config(style), DEDUCTION, [], foundation, size)


def test_the_base_style_leaves_the_model_thinking():
    assert solve_prompt(config("r1"), make_task(DEDUCTION)).endswith("<think>")


def test_the_identity_program_is_the_papers_seed():
    assert IDENTITY == "def f(x):\n    return x"


def answer_in(prompt: str) -> str:
    """The example that the prompt gives, as a model would copy it."""
    return f"<answer>{answer_of(prompt)}</answer>"
