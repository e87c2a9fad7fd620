"""The primes domain: exact rules, answers in both forms, round trips through its own prompts, texts of any sort."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from azr.config import SandboxConfig
from azr.domains.answers import answer_of
from azr.domains.base import ProposalPrompt
from azr.domains.primes.arithmetic import euclid, inverse, is_prime, primes_up_to, satisfies
from azr.domains.primes.config import PrimesConfig
from azr.domains.primes.domain import PrimesDomain, is_withheld
from azr.types import ABDUCTION, DEDUCTION, INDUCTION

KINDS = (DEDUCTION, ABDUCTION, INDUCTION)
STYLES = ("r1", "chat", "compact")
NOWHERE = None
"""In place of a sandbox: this domain runs nothing."""


def make(**knobs) -> PrimesDomain:
    return PrimesDomain(PrimesConfig(**{"style": "compact", "max_prime": 97} | knobs), SandboxConfig())


DOMAIN = make()


def task(kind: str, p: int, *xs: int):
    return DOMAIN.task(kind, {"p": p, "pairs": [[x, pow(x, -1, p)] for x in xs]})


def free(p: int, count: int = 2) -> list[int]:
    """Values of x that are not kept for the held-out sets, inverses of none of the others."""
    found: dict[int, int] = {}
    for x in range(2, p):
        key = min(x, inverse(x, p))
        if not is_withheld(p, x, inverse(x, p)):
            found.setdefault(key, x)
    return list(found.values())[:count]


async def validate(kind: str, answer: str, references=(), domain=DOMAIN):
    return await domain.validate(ProposalPrompt(kind, "", tuple(references)), f"<answer>{answer}</answer>", NOWHERE)


async def score(of, text: str) -> tuple[str, bool]:
    verdict = await DOMAIN.verify(of, text, NOWHERE)
    return verdict.reason, verdict.passed


# Number theory, against the definitions


def test_primes_are_those_without_divisors():
    by_definition = [n for n in range(2, 500) if all(n % d for d in range(2, n))]
    assert list(primes_up_to(499)) == by_definition
    assert [n for n in range(500) if is_prime(n)] == by_definition


def test_a_product_of_two_large_primes_is_none():
    assert is_prime(1_000_003)
    assert not is_prime(1009 * 1013)


@pytest.mark.parametrize("number", [3_215_031_751, 3_825_123_056_546_413_051])
def test_a_number_that_passes_for_prime_with_the_first_few_bases_is_found_out(number):
    """The least ones that do so with the first four, and with the first nine (OEIS A014233)."""
    assert not is_prime(number)


def test_the_longest_answers_that_are_read_are_judged_at_once():
    assert satisfies(999_999_999_999_999_989, [(1, 1)])  # as every prime does
    assert not satisfies(999_999_999_999_999_991, [(1, 1)])


@given(st.sampled_from(primes_up_to(300)), st.data())
def test_an_inverse_is_one_and_euclids_last_coefficient_is_it_too(p, data):
    x = data.draw(st.integers(1, p - 1))
    y = inverse(x, p)
    assert 1 <= y < p
    assert x * y % p == 1
    if x > 1:
        assert euclid(x, p)[-1][2] % p == y
    assert all((r - x * t) % p == 0 for _, r, t in euclid(x, p))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=3), st.integers(-2, 4000))
def test_a_prime_satisfies_pairs_when_every_product_leaves_one(pairs, p):
    expected = p >= 2 and all(p % d for d in range(2, p)) and all(x * y % p == 1 % p for x, y in pairs)
    assert satisfies(p, pairs) == expected


# Proposals


@pytest.mark.parametrize("kind", [DEDUCTION, ABDUCTION])
async def test_a_proposal_gives_one_side_and_the_other_is_computed(kind):
    (x,) = free(29, 1)
    letter = "x" if kind == DEDUCTION else "y"
    found = await validate(kind, f"{letter} = {x}, p = 29")
    pair = [x, inverse(x, 29)] if kind == DEDUCTION else [inverse(x, 29), x]
    assert found.verdict.reason == "accepted"
    assert found.task.data == {"p": 29, "pairs": [pair]}


async def test_an_induction_proposal_gives_one_prime_for_all_its_pairs():
    first, second = free(29)
    found = await validate(INDUCTION, f"p = 29, x = {first}, {second}")
    assert found.task.data == {"p": 29, "pairs": [[first, inverse(first, 29)], [second, inverse(second, 29)]]}


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        (DEDUCTION, "x = 3, p = 15", "p_not_prime"),
        (DEDUCTION, "x = 3, p = 91", "p_not_prime"),
        (DEDUCTION, "x = 3, p = 101", "p_out_of_range"),
        (DEDUCTION, "x = 1, p = 3", "p_out_of_range"),
        (DEDUCTION, "x = 0, p = 7", "x_out_of_range"),
        (DEDUCTION, "x = 7, p = 7", "x_out_of_range"),
        (ABDUCTION, "y = 8, p = 7", "y_out_of_range"),
        (INDUCTION, "p = 7, x = 3, 9", "x_out_of_range"),
        (INDUCTION, "p = 7, x = 3, 3", "repeated_pairs"),
        (DEDUCTION, f"x = {'9' * 5000}, p = 7", "too_long"),
    ],
)
async def test_a_proposal_that_breaks_a_rule_is_rejected_with_its_reason(kind, answer, reason):
    found = await validate(kind, answer)
    assert (found.verdict.reason, found.verdict.well_formed, found.task) == (reason, True, None)


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        (DEDUCTION, "3, 7", "wrong_form"),
        (DEDUCTION, "let x = 3, p = 7", "wrong_form"),
        (DEDUCTION, "x = 3, x = 4, p = 7", "wrong_form"),
        (DEDUCTION, "x = 3.5, p = 7", "wrong_form"),
        (DEDUCTION, "x = -3, p = 7", "wrong_form"),
        (DEDUCTION, "x = ٣, p = 7", "wrong_form"),
        (DEDUCTION, "y = 3, p = 7", "wrong_fields"),
        (DEDUCTION, "x = 3", "wrong_fields"),
        (DEDUCTION, "x = 3, y = 5, p = 7", "wrong_fields"),
        (DEDUCTION, "x = 3, 4, p = 7", "wrong_count"),
        (INDUCTION, "p = 7, x = 3", "wrong_count"),
        (INDUCTION, "p = 7, 11, x = 3, 4", "wrong_count"),
    ],
)
async def test_a_badly_formatted_proposal_is_malformed(kind, answer, reason):
    found = await validate(kind, answer)
    assert (found.verdict.reason, found.verdict.well_formed, found.task) == (reason, False, None)


async def test_a_reference_may_not_be_proposed_again():
    (x,) = free(29, 1)
    found = await validate(DEDUCTION, f"p = 29,x={x}", [task(DEDUCTION, 29, x)])
    assert found.verdict.reason == "repeats_a_reference"


async def test_the_knobs_bound_the_primes_and_count_the_pairs():
    xs = free(97, 3)
    wide = make(min_prime=90, induction_pairs=3)
    assert (await validate(INDUCTION, f"p = 97, x = {xs[0]}, {xs[1]}, {xs[2]}", domain=wide)).verdict.passed
    assert (await validate(DEDUCTION, "x = 3, p = 89", domain=wide)).verdict.reason == "p_out_of_range"


@pytest.mark.parametrize(
    "knobs", [{"min_prime": 90, "max_prime": 96}, {"min_prime": 2, "max_prime": 3, "induction_pairs": 4}]
)
def test_knobs_that_leave_no_task_are_refused(knobs):
    with pytest.raises(ValidationError):
        PrimesConfig(**knobs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["r1", "chat"])
async def test_the_example_in_a_propose_prompt_is_a_valid_proposal(style, kind):
    domain = make(style=style)
    prompt = domain.propose_prompt(kind, domain.seeds(), np.random.default_rng(0)).text
    references = [seed for seed in domain.seeds() if seed.kind == kind]
    example = f"<answer>{answer_of(prompt)}</answer>"
    found = await domain.validate(ProposalPrompt(kind, prompt, tuple(references)), example, NOWHERE)
    assert found.verdict.reason == "accepted"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
@given(seed=st.integers(0, 10**6))
def test_a_task_that_a_prompt_shows_is_read_back_as_it_was(kind, style, seed):
    domain = make(style=style, induction_pairs=3)
    shown = domain.task(kind, domain.draw(kind, np.random.default_rng(seed)))
    prompt = domain.propose_prompt(kind, [shown], np.random.default_rng(0)).text
    (line,) = [line.removeprefix("- ") for line in prompt.splitlines() if re.match(r"(- )?[xyp] = ", line)]
    assert domain.parse(kind, line) == shown.data


# Attempts


@pytest.mark.parametrize(
    "text",
    [
        "<answer>5</answer>",
        "<answer> y = 5 </answer>",
        "<answer>$5$</answer>",
        r"<answer>\boxed{5}</answer>",
        r"3 * 5 = 15 = 2 * 7 + 1, so \boxed{5}",
        r"\boxed{4} no, <answer>5</answer>",
        "<answer>4</answer> no, <answer>5</answer>",
    ],
)
async def test_answers_count_in_a_box_and_in_answer_tags(text):
    assert await score(task(DEDUCTION, 7, 3), text) == ("correct", True)


@pytest.mark.parametrize("text", ["<answer>12</answer>", "<answer>-2</answer>", "<answer>4</answer>", r"\boxed{05}6"])
async def test_only_the_number_below_p_is_right(text):
    of = task(DEDUCTION, 7, 3)
    assert (await score(of, text))[1] == (text == r"\boxed{05}6")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5", "no_answer"),
        ("<answer></answer>", "empty_answer"),
        (r"\boxed{ }", "empty_answer"),
        ("<answer>five</answer>", "no_number"),
    ],
)
async def test_a_text_without_a_number_as_its_answer_is_malformed(text, reason):
    verdict = await DOMAIN.verify(task(DEDUCTION, 7, 3), text, NOWHERE)
    assert (verdict.reason, verdict.well_formed) == (reason, False)


async def test_abduction_asks_for_x():
    of = DOMAIN.task(ABDUCTION, {"p": 11, "pairs": [[4, 3]]})
    assert await score(of, "<answer>4</answer>") == ("correct", True)
    assert await score(of, "<answer>3</answer>") == ("wrong", False)


@pytest.mark.parametrize(("p", "right"), [(7, True), (2, True), (3, False), (14, False), (1, False), (0, False)])
async def test_any_prime_that_satisfies_all_pairs_is_right(p, right):
    of = task(INDUCTION, 7, 3, 5)  # 3 * 5 - 1 = 14 = 2 * 7, for both pairs
    assert (await score(of, f"<answer>{p}</answer>"))[1] is right


@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(-3, 200))
async def test_a_verdict_is_right_exactly_where_the_equation_holds(kind, seed, number):
    of = DOMAIN.task(kind, DOMAIN.draw(kind, np.random.default_rng(seed)))
    p, pairs = of.data["p"], of.data["pairs"]
    if kind == INDUCTION:
        expected = satisfies(number, pairs)
    else:
        known = pairs[0][0 if kind == DEDUCTION else 1]
        expected = 1 <= number < p and known * number % p == 1
    assert (await DOMAIN.verify(of, f"<answer>{number}</answer>", NOWHERE)).passed == expected


@pytest.mark.parametrize("style", STYLES)
async def test_the_gold_answer_is_right(style):
    domain = make(style=style)
    for of in await domain.held_out(20, NOWHERE):
        assert (await domain.verify(of, domain.gold(of), NOWHERE)).passed


ANY = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="xyp=, 0123456789\n", max_size=40),
    st.from_regex(r"p = [0-9]{1,30}, x = [0-9]{1,30}(, [0-9]{1,9}){0,4}", fullmatch=True),
)


@given(text=ANY, kind=st.sampled_from(KINDS), shell=st.sampled_from(["{}", "<answer>{}</answer>", "\\boxed{{}}"]))
async def test_no_text_whatever_raises(text, kind, shell):
    written = shell.replace("{}", text)
    proposed = await DOMAIN.validate(ProposalPrompt(kind, "", ()), written, NOWHERE)
    assert (proposed.task is not None) == proposed.verdict.passed
    if proposed.task is not None:
        assert proposed.task.data["p"] in primes_up_to(97)
    of = task(kind, 29, 3, 5) if kind == INDUCTION else task(kind, 29, 3)
    assert (await DOMAIN.verify(of, written, NOWHERE)).score in (0.0, 1.0)


# Prompts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
def test_a_solve_prompt_shows_what_is_known_and_hides_the_answer(style, kind):
    domain = make(style=style)
    of = task(INDUCTION, 83, 7, 55) if kind == INDUCTION else task(kind, 83, 55)
    prompt = domain.solve_prompt(of)
    (x, y), p = of.data["pairs"][-1], 83
    known, hidden = {DEDUCTION: ((x, p), y), ABDUCTION: ((y, p), x), INDUCTION: ((x, y), p)}[kind]
    numbers = re.findall("[0-9]+", prompt)
    assert set(map(str, known)) <= set(numbers)
    assert str(hidden) not in numbers


@pytest.mark.parametrize("style", ["r1", "chat"])
async def test_the_example_in_a_solve_prompt_is_well_formed(style):
    domain = make(style=style)
    for seed in domain.seeds():
        example = answer_of(domain.solve_prompt(seed))
        assert (await domain.verify(seed, f"<answer>{example}</answer>", NOWHERE)).well_formed


def test_the_base_style_leaves_the_model_thinking():
    assert make(style="r1").solve_prompt(task(DEDUCTION, 7, 3)).endswith("<think>")


# What is held out


async def test_no_held_out_pair_can_be_proposed_in_any_kind_or_direction():
    held_out = await DOMAIN.held_out(60, NOWHERE)
    for of in held_out:
        p, (x, y) = of.data["p"], next(pair for pair in of.data["pairs"] if is_withheld(of.data["p"], *pair))
        for kind, answer in (
            (DEDUCTION, f"x = {x}, p = {p}"),
            (ABDUCTION, f"y = {x}, p = {p}"),
            (DEDUCTION, f"x = {y}, p = {p}"),
        ):
            assert (await validate(kind, answer)).verdict.reason == "held_out"
        other = next(z for z in range(1, p) if z != x)
        assert (await validate(INDUCTION, f"p = {p}, x = {other}, {x}")).verdict.reason == "held_out"


async def test_the_held_out_set_is_the_same_every_time_and_without_doubles():
    tasks = await DOMAIN.held_out(100, NOWHERE)
    assert tasks == await make().held_out(100, NOWHERE)
    assert len({of.id for of in tasks}) == len(tasks) == 300


async def test_a_held_out_set_that_cannot_be_filled_up_is_what_there_is():
    small = await make(max_prime=13).held_out(500, NOWHERE)
    pairs = sum(is_withheld(p, x, inverse(x, p)) for p in (5, 7, 11, 13) for x in range(1, p))
    assert Counter(of.kind for of in small)[DEDUCTION] == pairs


# What the report reads


def test_complexity_counts_euclids_steps():
    assert DOMAIN.complexity(task(DEDUCTION, 97, 35)) == pytest.approx(len(euclid(35, 97)) / 10)


def test_tasks_on_one_prime_are_alike_by_their_pairs():
    one, other = task(INDUCTION, 29, 2, 3), task(INDUCTION, 29, 2, 4)
    assert DOMAIN.similarity(one, one) == 1.0
    assert DOMAIN.similarity(one, other) == pytest.approx(1 / 3)
    assert DOMAIN.similarity(one, task(INDUCTION, 31, 2, 3)) == 0.0


def test_the_length_of_a_task_counts_the_divisions_of_euclids_algorithm():
    assert DOMAIN.length(task(DEDUCTION, 29, 12)) == 3  # 29 = 2 * 12 + 5, 12 = 2 * 5 + 2, 5 = 2 * 2 + 1
    assert DOMAIN.length(task(ABDUCTION, 29, 12)) == 4  # y = 17 is given: 29 = 17 + 12, 17 = 12 + 5, ...
    assert DOMAIN.length(task(INDUCTION, 29, 12, 2)) == 4  # and 29 = 14 * 2 + 1


def test_a_number_that_is_its_own_inverse_is_trivial():
    assert DOMAIN.trivial(task(DEDUCTION, 29, 28)) == "self_inverse"
    assert DOMAIN.trivial(task(DEDUCTION, 29, 2)) is None


def test_draws_are_uniform_over_all_pairs():
    rng, domain = np.random.default_rng(0), make(max_prime=7)
    drawn = [domain.draw(DEDUCTION, rng) for _ in range(3000)]
    counts = Counter((data["p"], *data["pairs"][0]) for data in drawn)
    assert len(counts) == 4 + 6
    assert all(math.isclose(count / 3000, 0.1, abs_tol=0.03) for count in counts.values())
