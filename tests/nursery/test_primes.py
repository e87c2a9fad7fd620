"""What the model of the primes domain reads: right answers, thoughts that lead to them, nothing that is held out."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.domains.base import ProposalPrompt
from azr.domains.primes.arithmetic import inverse
from azr.domains.primes.domain import is_withheld
from azr.types import DEDUCTION, INDUCTION
from nursery import primes

RECIPE = primes.Recipe()
STAGES = [list(itertools.islice(primes.documents(RECIPE, stage, seed=0), 1500)) for stage in RECIPE.stages]
DOCUMENTS = list(itertools.chain.from_iterable(STAGES))
TOKENIZER = primes.build_tokenizer()


def parts(family: str):
    """Kind, what is given, and the answer's text of all documents that end their prompt with <family>."""
    for (prompt, _), *answer in DOCUMENTS:
        kind, *given_lines, last = prompt.strip().splitlines()
        if last == f"<{family}>" and kind != "<arithmetic>" and not prompt.endswith("<think>"):
            yield kind.strip("<>"), given_lines, "".join(text for text, _ in answer)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


@given(st.text(max_size=60))
def test_every_text_comes_back_as_it_was(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_numbers_below_a_hundred_and_tags_are_one_token():
    assert TOKENIZER.tokenize("<solve>x = 35, p = 1009") == ["<solve>", "x", " = ", "35", ", ", "p", " = ", "10", "09"]


def test_every_attempt_ends_with_a_right_answer():
    for kind, lines, text in parts("solve"):
        answer = int(text.partition("<answer>")[2].removesuffix("</answer>"))
        pairs = [numbers(line) for line in lines]
        if kind == INDUCTION:
            assert all(x * y % answer == 1 for x, y in pairs)
        else:
            ((known, p),) = pairs
            assert known * answer % p == 1


def test_a_thought_follows_from_what_is_given():
    thoughts = Counter()
    for kind, _, text in parts("solve"):
        if not text.startswith("<think>"):
            continue
        thought, answer = text.removeprefix("<think>").split("</think><answer>")
        thoughts[kind] += 1
        if kind == INDUCTION:
            a, b, product, rest, times, p = numbers(thought)
            assert a * b == product == rest + 1 == times * p + 1
            assert p == numbers(answer)[0]
        elif thought:
            assert all(eval(left) == eval(right) for left, right in re.findall(r"(\d+ [-+][^=,]*) = (\d+)", thought))
            assert all(
                int(a) == int(b) * int(q) + int(r)
                for a, b, q, r in re.findall(r"(\d+) / (\d+) = (\d+), (\d+)", thought)
            )
            assert numbers(thought)[-1] == numbers(answer)[0]
    assert set(thoughts) == set(primes.DOMAIN.kinds)


def test_the_weights_make_thinking_as_rare_as_the_recipe_says():
    weights = Counter()
    for (prompt, weight), *answer in DOCUMENTS:
        assert weight == 0
        if prompt.endswith("<solve>\n") and "<arithmetic>" not in prompt:
            weights[answer[0][0]] += answer[0][1]
    assert weights["<think>"] / weights.total() == pytest.approx(RECIPE.inclination, abs=0.03)


def test_scrambled_thoughts_teach_right_results_and_nothing_else():
    scrambled = [document for document in STAGES[1] if document[0][0].endswith("<think>")]
    assert scrambled
    for document in scrambled:
        text = "".join(piece for piece, _ in document)
        learnt = [piece for piece, weight in document if weight]
        assert learnt == re.findall(r" = (.*?)[-+ ]\n", text.partition("<think>")[2])
        for a, b, product in re.findall(r"(\d+) \* (\d+) = (\d+)", re.sub(r"\d+ \+ \S+ \* .*", "", text)):
            assert int(a) * int(b) == int(product)
        for a, b, q, r in re.findall(r"(\d+) / (\d+) = (\d+), (\d+)", text):
            assert divmod(int(a), int(b)) == (int(q), int(r))


async def test_as_many_proposals_are_slips_as_the_recipe_says():
    accepted = [
        (await primes.DOMAIN.validate(ProposalPrompt(kind, "", ()), text, None)).verdict.passed
        for kind, _, text in parts("propose")
    ]
    assert 1 - sum(accepted) / len(accepted) == pytest.approx(RECIPE.slips, abs=0.08)


def test_no_document_tells_of_a_pair_that_is_held_out():
    for kind, lines, text in parts("solve"):
        if kind == INDUCTION:
            p, pairs = numbers(text)[-1], [numbers(line) for line in lines]
        else:
            known, p = numbers(lines[0])
            pairs = [(known, inverse(known, p))]
        assert not any(is_withheld(p, x, y) for x, y in pairs)


def test_a_model_can_be_built_and_loaded(tmp_path):
    from dataclasses import replace

    from azr.config import ModelConfig
    from azr.models.load import load_model
    from nursery.train import Shape

    stages = tuple(replace(stage, documents=200, tokens=2000) for stage in RECIPE.stages)
    small = replace(RECIPE, stages=stages, shape=Shape(16, 1, 2, 32, 128))
    primes.build(tmp_path / "model", small, report=lambda line: None)
    policy = load_model(ModelConfig(name=str(tmp_path / "model")))
    prompt = primes.DOMAIN.solve_prompt(primes.DOMAIN.samples(DEDUCTION, 1)[0])
    assert policy.tokenizer.decode(policy.encode(prompt)) == prompt
