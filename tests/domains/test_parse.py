"""From the model's text to the parts of an answer."""

import contextlib
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.domains.answers import MalformedError, answer_of
from azr.domains.python.parse import fields_of, one, short_answer


def reason(call, *args) -> str:
    with pytest.raises(MalformedError) as caught:
        call(*args)
    return caught.value.reason


def test_the_last_answer_wins():
    assert answer_of("<answer>1</answer> no, <answer> 2 </answer>") == "2"


def test_an_answer_that_was_begun_twice_counts_from_its_last_beginning():
    assert answer_of("I write <answer> like this: <answer>3</answer>") == "3"


def test_text_without_an_answer_is_malformed():
    assert reason(answer_of, "<answer>1") == "no_answer"


def test_an_empty_answer_is_malformed():
    assert reason(answer_of, "<answer>  </answer>") == "empty_answer"


def fields(**parts):
    """The given parts, and none of the other labels."""
    return {"program": [], "input": [], "output": [], "message": []} | parts


def test_fenced_parts_are_found_by_their_labels():
    text = "```python\ndef f(x):\n    return x\n```\n```input\n1\n```\ntext\n```input\n2\n```\n```message\nhint\n```"
    expected = fields(program=["def f(x):\n    return x"], input=["1", "2"], message=["hint"])
    assert fields_of(text, "fenced") == expected


def test_tagged_parts_are_found_by_their_tags():
    text = "<program>\ndef f(x):\n    return x\n</program><input>1</input><input>2</input><message></message>"
    expected = fields(program=["def f(x):\n    return x"], input=["1", "2"], message=[""])
    assert fields_of(text, "tagged") == expected


def test_the_first_line_of_a_program_keeps_its_indentation():
    assert fields_of("<program>\n  x = 1\n</program>", "tagged")["program"] == ["  x = 1"]


@pytest.mark.parametrize(("parts", "expected"), [((), "no_input"), (("",), "no_input"), (("1", "2"), "many_inputs")])
def test_one_part_means_exactly_one(parts, expected):
    assert reason(one, parts, "input") == expected


@pytest.mark.parametrize("text", ["[1, 2]", "```output\n[1, 2]\n```", "So:\n```output\n[1, 2]\n```\n"])
def test_a_short_answer_may_stand_bare_or_fenced(text):
    assert short_answer(text, "output", "fenced") == "[1, 2]"


@given(st.text(), st.sampled_from(["fenced", "tagged"]))
def test_no_text_whatever_breaks_the_parser(text, notation):
    with contextlib.suppress(MalformedError):
        fields_of(answer_of(f"<answer>{text}</answer>"), notation)


def slow_fields_of(text, notation):
    """What the notations mean, as one regular expression each, which take quadratic time."""
    fence = r"^[ \t]*```[ \t]*(\w+)[ \t]*\n(.*?)^[ \t]*```[ \t]*$"
    tag = r"<(program|input|output|message)>(.*?)</\1>"
    found = re.findall(tag if notation == "tagged" else fence, text, re.DOTALL | re.MULTILINE)
    parts = {label: [] for label in ("program", "input", "output", "message")}
    for label, body in found:
        if notation == "fenced" and label == "python":
            label = "program"
        if label in parts:
            parts[label].append(body.strip("\n") if label == "program" else body.strip())
    return parts


TAGS = ["<program>", "</program>", "<input>", "</input>", "a"]
LINES = ["```", "```input", "``` python", "a", ""]
ODD = [" ```\t", "```\r", "``` a!", "\t```output ", "\x85```", "````", "<<message>", "</message>", "\n"]


@pytest.mark.parametrize(("notation", "parts", "between"), [("tagged", TAGS, ""), ("fenced", LINES, "\n")])
def test_every_short_text_reads_as_by_the_slow_parser(notation, parts, between):
    for count in range(7):
        for text in map(between.join, itertools.product(parts, repeat=count)):
            assert fields_of(text, notation) == slow_fields_of(text, notation), text


@given(st.lists(st.sampled_from([*TAGS, *LINES, *ODD])).map("\n".join), st.sampled_from(["fenced", "tagged"]))
def test_random_texts_read_as_by_the_slow_parser(text, notation):
    assert fields_of(text, notation) == slow_fields_of(text, notation)


# Two megabytes each. At quadratic time one of them would take more than an hour.
@pytest.mark.parametrize(
    ("text", "notation", "expected"),
    [
        ("```python\n" * 200_000, "fenced", fields()),
        ("```input\n" + "``` !\n" * 300_000, "fenced", fields()),
        ("```" + " " * 2_000_000 + "!", "fenced", fields()),
        ("```input\n1\n```\n" * 130_000, "fenced", fields(input=["1"] * 130_000)),
        ("<program><input>" * 120_000 + "<output>1</output>", "tagged", fields(output=["1"])),
        ("<input>1</input>" * 120_000, "tagged", fields(input=["1"] * 120_000)),
    ],
    ids=["fences", "broken fences", "spaces", "many blocks", "tags", "many tags"],
)
def test_a_hostile_text_of_two_megabytes_is_read(text, notation, expected):
    assert fields_of(text, notation) == expected
