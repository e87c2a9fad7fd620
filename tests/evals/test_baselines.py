"""Baselines, on tasks whose best constant is known by counting."""

from collections import Counter

from azr.config import SandboxConfig
from azr.domains.primes.config import PrimesConfig
from azr.domains.primes.domain import PrimesDomain
from azr.evals.held_out import best_constant
from azr.types import ABDUCTION, DEDUCTION, INDUCTION

DOMAIN = PrimesDomain(PrimesConfig(max_prime=31), SandboxConfig())


def tasks(kind: str, *numbers: tuple[int, ...]):
    return [DOMAIN.task(kind, {"p": p, "pairs": [[x, pow(x, -1, p)] for x in xs]}) for p, *xs in numbers]


async def test_the_best_constant_is_the_most_frequent_answer_of_each_kind():
    held_out = await DOMAIN.held_out(60, None)
    found = (await best_constant(held_out, DOMAIN, None)).correct
    for kind in (DEDUCTION, ABDUCTION):
        answers = Counter(DOMAIN.answer(task) for task in held_out if task.kind == kind)
        assert sum(found[kind]) / len(found[kind]) == answers.most_common(1)[0][1] / answers.total()


async def test_an_answer_that_is_right_without_being_gold_counts():
    # 3 * 5 - 1 = 14, 1 * 1 - 1 = 0 and 3 * 9 - 1 = 26 are all even, and 2 is gold in but one of them
    mixed = tasks(INDUCTION, (7, 3), (2, 1), (13, 3))
    found = await best_constant(mixed, DOMAIN, None)
    assert [answer.text for answer in found.answers] == ["<answer>2</answer>"] * 3
    assert found.correct == {INDUCTION: [1, 1, 1]}


async def test_answers_are_in_the_order_of_the_tasks():
    mixed = [*tasks(DEDUCTION, (7, 3)), *tasks(INDUCTION, (7, 3)), *tasks(DEDUCTION, (11, 4))]
    found = await best_constant(mixed, DOMAIN, None)
    assert [answer.task for answer in found.answers] == mixed
