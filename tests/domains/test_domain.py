"""Proposals and attempts through the real sandbox: what is accepted, what is rejected and why, what is right."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.config import SandboxConfig
from azr.domains.base import ProposalPrompt
from azr.domains.python.building import draw_foundation
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import NO_ERROR, identity_task, program_task
from azr.sandbox import Outcome
from azr.types import ABDUCTION, DEDUCTION, ERROR, INDUCTION, Role

KINDS = (DEDUCTION, ABDUCTION, INDUCTION, ERROR)
CONFIG = PythonConfig(style="compact", kinds=KINDS, induction_inputs=4, induction_shown=2, program_bytes=400)
DOMAIN = PythonDomain(CONFIG, SandboxConfig(wall_seconds=1.0, cpu_seconds=1, output_bytes=1000))
DOUBLE = "def f(x):\n    return x * 2"
double = program_task(DEDUCTION, {"program": DOUBLE, "input": "4", "output": "8"})


def proposal(program: str, inputs: str) -> str:
    return f"<answer><program>\n{program}\n</program><input>{inputs}</input></answer>"


def induction_proposal(*inputs: str, message: str = "doubles") -> str:
    return "<answer>" + "".join(f"<input>{i}</input>" for i in inputs) + f"<message>{message}</message></answer>"


async def validate(sandbox, kind: str, text: str, references=(), **context):
    return await DOMAIN.validate(ProposalPrompt(kind, "", tuple(references), context), text, sandbox)


async def reason(sandbox, kind: str, text: str, references=()) -> str:
    found = await validate(sandbox, kind, text, references)
    assert found.task is None
    return found.verdict.reason


# Proposals


@pytest.mark.parametrize("kind", [DEDUCTION, ABDUCTION])
async def test_a_valid_proposal_becomes_a_task_with_its_gold_value(sandbox, kind):
    found = await validate(sandbox, kind, proposal("def f(a, b):\n    return [b, a]", "1,'x'"), [double])
    assert found.verdict.passed
    assert found.task.data == {"program": "def f(a, b):\n    return [b, a]", "input": "1, 'x'", "output": "['x', 1]"}
    assert found.task.parents == (double.id,)


async def test_an_induction_proposal_becomes_pairs(sandbox):
    found = await validate(sandbox, INDUCTION, induction_proposal("1", "2", "30", "-4"), [double])
    assert found.task.data == {
        "program": DOUBLE,
        "message": "doubles",
        "inputs": ["1", "2", "30", "-4"],
        "outputs": ["2", "4", "60", "-8"],
        "shown": 2,
    }


@pytest.mark.parametrize(
    ("program", "expected"), [("def f(x):\n    return 1 // x", "ZeroDivisionError"), (DOUBLE, NO_ERROR)]
)
async def test_an_error_proposal_takes_the_exception_as_its_gold_value(sandbox, program, expected):
    found = await validate(sandbox, ERROR, proposal(program, "0"))
    assert found.task.data["error"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no tags at all", "no_answer"),
        ("<answer></answer>", "empty_answer"),
        ("<answer><input>1</input></answer>", "no_program"),
        (f"<answer><program>\n{DOUBLE}\n</program></answer>", "no_input"),
        (proposal(DOUBLE, "1").replace("</answer>", "<input>2</input></answer>"), "many_inputs"),
    ],
)
async def test_a_badly_formatted_proposal_is_malformed(sandbox, text, expected):
    found = await validate(sandbox, DEDUCTION, text)
    assert (found.verdict.well_formed, found.verdict.reason, found.task) == (False, expected, None)


@pytest.mark.parametrize(
    ("program", "inputs", "expected"),
    [
        ("def f(x) return x", "1", "syntax"),
        ("def g(x):\n    return x", "1", "no_entry"),
        (DOUBLE, "1) or (True", "bad_input"),
        (DOUBLE, "y", "bad_input"),
        ("def f(x):\n    return 1 // x", "0", "error"),
        ("import os\ndef f(x):\n    return x", "1", "forbidden"),
        ("import os.path\ndef f(x):\n    return x", "1", "forbidden"),
        ("from os import path\ndef f(x):\n    return x", "1", "forbidden"),
        ("def f(x):\n    return __import__('os').getpid()", "1", "forbidden"),
        ("def f(x):\n    return '" + "a" * 500 + "'", "1", "forbidden"),
        ("def f(x):\n    while True:\n        pass", "1", "timeout"),
        ("def f(x):\n    return 'a' * 5000", "1", "output_too_large"),
        ("def f(x):\n    return f", "1", "unsupported_value"),
        ("def f(x):\n    return float('nan')", "1", "unsupported_value"),
        ("def f(x):\n    return hash(x)", "'spam'", "nondeterministic"),
        ("def f(x):\n    return id(x)", "'spam'", "nondeterministic"),
        ("def f(x):\n    return list(set(x))", "['a', 'b', 'c', 'd', 'e', 'f', 'g']", "nondeterministic"),
    ],
)
async def test_an_invalid_proposal_is_rejected_with_its_reason(sandbox, program, inputs, expected):
    found = await validate(sandbox, DEDUCTION, proposal(program, inputs))
    assert (found.verdict.reason, found.verdict.well_formed, found.task) == (expected, True, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (induction_proposal("1", "2", "3"), "wrong_input_count"),
        (induction_proposal("1", "2", "3", "3"), "repeated_inputs"),
        (induction_proposal("1", "2", "3", "[3"), "bad_input"),
        (induction_proposal("1", "2", "3", "None"), "error"),
        (induction_proposal("1", "2", "3", "4", message=" "), "no_message"),
    ],
)
async def test_an_invalid_induction_proposal_is_rejected_with_its_reason(sandbox, text, expected):
    assert await reason(sandbox, INDUCTION, text, [double]) == expected


@pytest.mark.parametrize("inputs", ["1 # one", "1 \\", "1,", "\n1\n"])
async def test_an_input_may_be_written_in_any_way_that_fills_a_call(sandbox, inputs):
    assert (await validate(sandbox, DEDUCTION, proposal(DOUBLE, inputs))).task.data["input"] == "1"


HUGE = "0x" + "f" * 4000
"""Of more digits than Python writes; to read them in this notation it sets itself no limit."""


@pytest.mark.parametrize("inputs", [HUGE, "9" * 5000])
async def test_an_input_that_only_the_sandbox_can_read_is_rejected(sandbox, inputs):
    program = "def f(x):\n    return x & 1"
    odd = program_task(DEDUCTION, {"program": program, "input": "1", "output": "1"})
    assert await reason(sandbox, DEDUCTION, proposal(program, inputs)) == "unreadable"
    assert await reason(sandbox, INDUCTION, induction_proposal("1", "2", "3", inputs), [odd]) == "unreadable"


class Later:
    """A sandbox whose Python knows an operator that ours does not."""

    async def run(self, job):
        return (Outcome("1"),) * len(job.inputs)

    async def close(self):
        pass


async def test_a_program_of_a_later_python_is_rejected():
    assert await reason(Later(), DEDUCTION, proposal("def f(x):\n    return x ?? 1", "1")) == "unreadable"


async def test_spellings_of_one_task_have_one_fingerprint(sandbox):
    one = await validate(sandbox, DEDUCTION, proposal("def f(x):\n    return x + [2]", "[1,1]"))
    other = await validate(sandbox, DEDUCTION, proposal("def f(y):\n    return (y + [2])", "[1, 1]"))
    assert one.task.fingerprint == other.task.fingerprint


async def test_a_held_out_program_cannot_be_proposed_under_other_names_or_with_another_input(sandbox, tmp_path):
    line = {"kind": "deduction", "data": {"program": "def f(x):\n    return x + 7", "input": "1", "output": "8"}}
    (tmp_path / "set.jsonl").write_text(json.dumps(line))
    domain = PythonDomain(CONFIG.model_copy(update={"held_out": str(tmp_path / "set.jsonl")}), SandboxConfig())
    asked = domain.propose_prompt(ABDUCTION, [], np.random.default_rng(0))
    reasons = [
        (await domain.validate(asked, proposal(f"def f(n):\n    return n + {k}", "5"), sandbox)).verdict.reason
        for k in (7, 6)
    ]
    assert reasons == ["held_out", "accepted"]


# Composite programs


def composite_brief():
    domain = PythonDomain(CONFIG.model_copy(update={"composite_share": 1.0}), SandboxConfig())
    return domain.propose_prompt(DEDUCTION, [double], np.random.default_rng(0))


async def test_a_composite_is_proposed_on_a_reference_as_its_helper(sandbox):
    found = await DOMAIN.validate(composite_brief(), proposal("def f(x):\n    return g(x) + 1", "5"), sandbox)
    assert found.task.data["program"] == "def g(x):\n    return x * 2\n\ndef f(x):\n    return g(x) + 1"
    assert found.task.data["output"] == "11"


async def test_a_composite_that_ignores_its_helper_is_rejected(sandbox):
    found = await DOMAIN.validate(composite_brief(), proposal("def f(x):\n    return x + 1", "5"), sandbox)
    assert found.verdict.reason == "helper_unused"


def test_composites_are_off_by_default():
    assert not DOMAIN.propose_prompt(DEDUCTION, [double], np.random.default_rng(0)).context


# Extended and joined programs

PAIR = program_task(
    DEDUCTION, {"program": "def f(a, b):\n    a = b\n    return [a, b]", "input": "1, 2", "output": "[2, 2]"}
)
OTHER = program_task(
    DEDUCTION,
    {"program": "def f(a, b):\n    b = b + 1\n    return [a, b]", "input": "1, 2", "output": "[1, 3]"},
    depth=3,
)


def built(references, **shares):
    domain = PythonDomain(CONFIG.model_copy(update=shares), SandboxConfig())
    return domain.propose_prompt(DEDUCTION, references, np.random.default_rng(0))


async def test_an_extension_adds_the_proposed_lines_to_a_references_program(sandbox):
    asked = built([OTHER, PAIR], extend_share=1.0)
    found = await DOMAIN.validate(asked, proposal("    a = 5", "1, 2"), sandbox)
    assert found.task.data["program"] == "def f(a, b):\n    b = b + 1\n    a = 5\n    return [a, b]"
    assert (found.task.data["output"], found.task.parents, found.task.depth) == ("[5, 3]", (OTHER.id,), 4)


async def test_an_extension_without_lines_is_malformed(sandbox):
    asked = built([PAIR], extend_share=1.0)
    found = await DOMAIN.validate(asked, "<answer><input>1, 2</input></answer>", sandbox)
    assert (found.task, found.verdict.reason) == (None, "no_program")


async def test_joined_programs_need_an_input_alone(sandbox):
    asked = built([PAIR, OTHER], join_share=1.0)
    found = await DOMAIN.validate(asked, "<answer><input>1, 2</input></answer>", sandbox)
    assert found.task.data["output"] == "[2, 3]"
    assert (found.task.parents, found.task.depth) == ((PAIR.id, OTHER.id), 4)


def test_a_prompt_to_extend_shows_the_program_and_no_other_task():
    asked = built([PAIR, OTHER], extend_share=1.0)
    assert PAIR.data["program"] in asked.text
    assert OTHER.data["program"] not in asked.text


def test_without_a_program_that_can_be_built_on_a_new_one_is_asked_for():
    asked = built(
        [double.__class__(**{**asdict(double), "data": {**double.data, "program": "f = abs"}})], extend_share=1.0
    )
    assert not asked.context
    assert asked.text.endswith("<propose>\n")


@given(st.floats(0, 0.4), st.floats(0, 0.3), st.floats(0, 0.3), st.integers(0, 2**32))
def test_shares_decide_how_often_proposals_build_on_what(composite, extend, join, seed):
    config = CONFIG.model_copy(update={"composite_share": composite, "extend_share": extend, "join_share": join})
    drawn = np.random.default_rng(seed).random()
    found = draw_foundation(config, DEDUCTION, [PAIR, OTHER], np.random.default_rng(seed))
    ways = {"composite": composite, "extended": composite + extend, "joined": composite + extend + join}
    assert (found and found.way) == next((way for way, limit in ways.items() if drawn < limit), None)


@dataclass
class Drawn:
    """A generator that draws one number."""

    number: float

    def random(self) -> float:
        return self.number


@pytest.mark.parametrize(
    ("born", "invented"), [((0, 0), 0.1), ((0, 100), 0.05), ((200, 100), 0.025), ((300, 0), 0.0125)]
)
def test_the_share_of_inventions_halves_again_and_again(born, invented):
    config = CONFIG.model_copy(update={"extend_share": 0.45, "join_share": 0.45, "invented_half_life": 100.0})
    references = [replace(task, born=step) for task, step in zip((PAIR, OTHER), born, strict=True)]
    drawn = [draw_foundation(config, DEDUCTION, references, Drawn((at + 0.5) / 1600)) for at in range(1600)]
    ways = Counter(found and found.way for found in drawn)
    assert ways[None] == 1600 * invented
    assert ways["extended"] == ways["joined"]


def test_nothing_is_built_in_place_of_inventions_without_a_way_to_build():
    config = CONFIG.model_copy(update={"invented_half_life": 1.0})
    assert draw_foundation(config, DEDUCTION, [replace(PAIR, born=100)], np.random.default_rng(0)) is None


# Proposals of a size that is asked for


@pytest.mark.parametrize("shares", [{}, {"extend_share": 1.0}], ids=["invented", "extended"])
def test_every_size_up_to_the_largest_is_asked_for(shares):
    config = CONFIG.model_copy(update={"sizes": 3, **shares})
    domain, rng = PythonDomain(config, SandboxConfig()), np.random.default_rng(0)
    asked = [domain.propose_prompt(DEDUCTION, [PAIR], rng) for _ in range(60)]
    assert {prompt.context["size"] for prompt in asked} == {1, 2, 3}
    tag = "<extend>" if shares else "<propose>"
    assert all(prompt.text.endswith(f"{tag}{prompt.context['size']}\n") for prompt in asked)


def test_no_size_is_asked_for_where_none_can_be_chosen():
    joined = built([PAIR, OTHER], join_share=1.0, sizes=3)
    assert "size" not in joined.context
    assert joined.text.endswith("<join>\n")


@pytest.mark.parametrize(
    ("shares", "written", "size"),
    [
        ({}, "def f(a, b):\n    a = 5\n    b = a\n    return b", 2),
        ({"extend_share": 1.0}, "    a = 5\n    b = a\n    a = 7", 3),
    ],
    ids=["invented", "extended"],
)
async def test_a_proposal_of_another_size_fits_the_prompt_that_asks_for_its_own(sandbox, shares, written, size):
    domain = PythonDomain(CONFIG.model_copy(update={"sizes": 9, **shares}), SandboxConfig())
    asked = domain.propose_prompt(DEDUCTION, [PAIR], np.random.default_rng(0))
    assert asked.context["size"] != size
    found = await domain.validate(asked, proposal(written, "1, 2"), sandbox)
    assert domain.fitting(asked, found.task) == asked.text.replace(f">{asked.context['size']}\n", f">{size}\n")


async def test_a_proposal_of_the_size_that_was_asked_for_fits_no_other_prompt(sandbox):
    asked = built([PAIR], sizes=1)
    found = await DOMAIN.validate(asked, proposal("def f(a, b):\n    a = 5\n    return a", "1, 2"), sandbox)
    assert DOMAIN.fitting(asked, found.task) is None


async def test_a_proposal_that_was_asked_for_no_size_fits_no_other_prompt(sandbox):
    asked = built([PAIR])
    found = await DOMAIN.validate(asked, proposal("def f(a, b):\n    a = 5\n    return a", "1, 2"), sandbox)
    assert DOMAIN.fitting(asked, found.task) is None


# Attempts


async def verdict(sandbox, task, answer: str):
    return await DOMAIN.verify(task, f"<answer>{answer}</answer>", sandbox)


pairs = program_task(DEDUCTION, {"program": "def f(x):\n    return [x, x]", "input": "1", "output": "[1, 1]"})
square = program_task(ABDUCTION, {"program": "def f(x):\n    return x * x", "input": "3", "output": "9"})
doubles = program_task(
    INDUCTION,
    {
        "program": DOUBLE,
        "message": "",
        "inputs": ["1", "2", "3", "4"],
        "outputs": ["2", "4", "6", "8"],
        "shown": 2,
    },
)
fails = program_task(ERROR, {"program": "def f(x):\n    return x[9]", "input": "[]", "error": "IndexError"})


@pytest.mark.parametrize("answer", ["[1, 1]", "[1,1]", "[ 1, 0x1 ]", "<output>[1, 1]</output>"])
async def test_a_deduction_is_right_in_any_spelling_of_the_value(sandbox, answer):
    assert (await verdict(sandbox, pairs, answer)).reason == "correct"


@pytest.mark.parametrize("answer", ["[1, 2]", "[1.0, 1]", "[True, 1]", "(1, 1)", "'[1, 1]'"])
async def test_another_value_or_type_is_wrong(sandbox, answer):
    assert (await verdict(sandbox, pairs, answer)).reason == "wrong"


@pytest.mark.parametrize("answer", ["[1, 1] or True", "1) or (True", "f(1)", "[1 1]", "x"])
async def test_an_answer_that_is_no_literal_is_wrong_and_never_run(sandbox, answer):
    assert (await verdict(sandbox, pairs, answer)).reason == "bad_input"


@pytest.mark.parametrize("answer", ["3", "-3", "<input>-3</input>"])
async def test_any_input_that_gives_the_output_is_right(sandbox, answer):
    assert (await verdict(sandbox, square, answer)).reason == "correct"


@pytest.mark.parametrize(
    ("answer", "expected"), [("4", "wrong"), ("3.0", "wrong"), ("'3'", "error"), ("3) or (3", "bad_input")]
)
async def test_an_input_that_does_not_give_the_output_is_wrong(sandbox, answer, expected):
    assert (await verdict(sandbox, square, answer)).reason == expected


async def test_a_program_that_reproduces_the_hidden_pairs_is_right(sandbox):
    answer = "<program>\ndef f(x):\n    return x + x\n</program>"
    assert (await verdict(sandbox, doubles, answer)).reason == "correct"


async def test_a_table_of_the_shown_pairs_is_wrong(sandbox):
    answer = "<program>\ndef f(x):\n    return {1: 2, 2: 4}.get(x)\n</program>"
    assert (await verdict(sandbox, doubles, answer)).score == 0.0


async def test_half_of_the_hidden_pairs_scores_half(sandbox):
    answer = "<program>\ndef f(x):\n    return {3: 6}.get(x)\n</program>"
    found = await verdict(sandbox, doubles, answer)
    assert (found.score, found.passed) == (0.5, False)


@pytest.mark.parametrize(
    ("body", "expected"), [("import os", "forbidden"), ("raise SystemExit", "error"), ("return (", "syntax")]
)
async def test_an_induction_answer_that_does_not_run_is_wrong_with_its_reason(sandbox, body, expected):
    found = await verdict(sandbox, doubles, f"<program>\ndef f(x):\n    {body}\n</program>")
    assert (found.reason, found.score) == (expected, 0.0)


async def test_an_induction_answer_without_a_program_is_malformed(sandbox):
    assert not (await verdict(sandbox, doubles, "def f(x): return 2 * x")).well_formed


@pytest.mark.parametrize(
    ("answer", "expected"), [("IndexError", "correct"), ("LookupError", "wrong"), ("NoError", "wrong")]
)
async def test_the_very_class_of_the_exception_is_asked_for(sandbox, answer, expected):
    assert (await verdict(sandbox, fails, answer)).reason == expected


async def test_an_equality_that_always_holds_does_not_help(sandbox):
    answer = "<program>\nclass Any(int):\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Any(0)\n</program>"
    assert (await verdict(sandbox, doubles, answer)).reason == "unsupported_value"


@pytest.mark.parametrize("task", [pairs, square, doubles, fails], ids=lambda task: task.kind)
@pytest.mark.parametrize("style", ["r1", "compact"])
async def test_the_gold_answer_is_right(sandbox, task, style):
    domain = PythonDomain(CONFIG.model_copy(update={"style": style}), SandboxConfig())
    assert (await domain.verify(task, domain.gold(task), sandbox)).passed


TEXTS = st.text(max_size=60) | st.text("01xe[](){},:'\"#\\ \n-._", max_size=30)
PARTS = st.builds(
    "<answer><program>\n{}\n</program><input>{}</input></answer>".format,
    st.sampled_from([DOUBLE, "def f(*given, **named):\n    return 1"]) | TEXTS,
    TEXTS,
)


@settings(max_examples=150)
@given(
    text=TEXTS | TEXTS.map("<answer>{}</answer>".format) | PARTS,
    kind=st.sampled_from(KINDS),
    role=st.sampled_from(list(Role)),
)
async def test_no_text_whatever_raises(text, kind, role, sandbox):
    if role == Role.PROPOSE:
        found = await validate(sandbox, kind, text, [double])
        assert (found.task is None) == (not found.verdict.passed)
    else:
        task = {DEDUCTION: pairs, ABDUCTION: square, INDUCTION: doubles, ERROR: fails}[kind]
        assert 0.0 <= (await DOMAIN.verify(task, text, sandbox)).score <= 1.0


# Where references come from


def test_induction_takes_one_program_from_the_other_buffers():
    sources = DOMAIN.sources(INDUCTION)
    assert (sources.kinds, sources.count) == ((DEDUCTION, ABDUCTION), 1)


def test_a_run_of_induction_alone_still_has_programs_to_start_from():
    domain = PythonDomain(CONFIG.model_copy(update={"kinds": (INDUCTION,)}), SandboxConfig())
    assert {task.kind for task in domain.seeds()} == {DEDUCTION, ABDUCTION}


async def test_the_seed_triplet_is_a_valid_task(sandbox):
    seed = identity_task(DEDUCTION)
    found = await validate(sandbox, DEDUCTION, proposal(seed.data["program"], seed.data["input"]))
    assert found.task.data == seed.data
