"""Alarms in words, from figures set by hand."""

from __future__ import annotations

import pytest

from azr.analysis.alarms import alarms, step_alarms
from azr.analysis.figures import KindFigures, RoleFigures, StepFigures
from azr.analysis.held_out import Evaluation


def step(
    number: int,
    *,
    identity: int = 0,
    accepted: int = 10,
    shapes: int = 10,
    flat: int = 0,
    bands=(2, 0, 2, 2, 2, 2),
    unfinished: float = 0.0,
    novelty: float | None = 0.5,
    known: int = 2,
    rarity: float | None = 0.5,
):
    kind = KindFigures(10, accepted, 40, 20, 0.5, novelty, 0.5, rarity, {}, {})
    role = RoleFigures(20, 0.0, 10.0, unfinished)
    trivial = {"identity": identity} if identity else {}
    return StepFigures(
        number,
        {"deduction": kind},
        {"solve": role},
        bands,
        accepted,
        trivial,
        shapes,
        known,
        novelty,
        0.5,
        None,
        None,
        20,
        flat,
        {},
    )


def said(steps, evaluations=()) -> list[str]:
    return [alarm.text for alarm in alarms(steps, evaluations)]


def test_a_healthy_run_raises_none():
    assert said([step(n) for n in range(1, 20)]) == []


def test_identity_functions_are_told_with_their_share_and_since_when():
    steps = [step(n, identity=0 if n < 10 else 4) for n in range(1, 21)]
    # five steps with 12 of 50 first lie above a fifth at step 12; from there on it is 4 of 10
    assert said(steps) == ["40% of new tasks since step 12 are identity functions"]


def test_what_is_over_is_told_with_its_end():
    steps = [step(n, identity=8 if 5 <= n < 12 else 0) for n in range(1, 30)]
    (alarm,) = alarms(steps, ())
    assert (alarm.since, alarm.until) == (6, 14)
    assert alarm.text.endswith("of new tasks from step 6 to 14 are identity functions")


def test_one_bad_step_is_no_collapse():
    assert said([step(n, identity=9 if n == 8 else 0) for n in range(1, 20)]) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"shapes": 2}, "only 20% of new tasks since step 5 differ in shape"),
        ({"accepted": 0, "bands": (0,) * 6, "shapes": 0}, "only 0% of proposals since step 5 are valid"),
        ({"bands": (10, 0, 0, 0, 0, 0)}, "no attempt solves 100% of new tasks since step 5"),
        ({"bands": (0, 10, 0, 0, 0, 0)}, "every attempt solves 100% of new tasks since step 5"),
        ({"flat": 19}, "95% of rollouts since step 5 have no advantage"),
        ({"unfinished": 0.75}, "75% of rollouts since step 5 are cut at the token limit"),
    ],
)
def test_each_way_to_go_bad_has_its_words(bad, words):
    assert said([step(n, **bad) for n in range(1, 12)]) == [words]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"identity": 3}, "30% of new tasks in step 7 are identity functions"),
        ({"shapes": 2}, "only 20% of new tasks in step 7 differ in shape"),
        ({"bands": (10, 0, 0, 0, 0, 0)}, "no attempt solves 100% of new tasks in step 7"),
        ({"flat": 19}, "95% of rollouts in step 7 have no advantage"),
    ],
)
def test_a_bad_step_is_told_by_itself_in_the_same_words(bad, words):
    assert step_alarms(step(7, **bad)) == [words]


def test_a_healthy_step_raises_no_alarm():
    assert step_alarms(step(7)) == []


def test_novelty_that_has_more_than_halved_is_told_since_the_step_that_made_it_so():
    steps = [step(n, novelty=0.4 if n <= 10 else 0.1) for n in range(1, 21)]
    # the mean of five steps is 0.22 with three low ones among them, and 0.16 with four: that is step 14
    assert said(steps) == ["novelty of new tasks since step 14 has fallen to 25% of what it was"]


def test_novelty_that_has_come_back_is_no_alarm():
    assert said([step(n, novelty=0.1 if 10 < n <= 20 else 0.4) for n in range(1, 40)]) == []


def test_tasks_without_references_have_no_novelty_to_lose():
    assert said([step(n, novelty=None) for n in range(1, 20)]) == []


def test_a_curriculum_that_narrows_is_told_since_the_step_in_which_it_has():
    steps = [step(n, known=2 if n <= 10 else 8) for n in range(1, 21)]
    # over five steps 44 % have a known shape with two such steps, and 56 % with three: that is step 13
    assert said(steps) == ["80% of new tasks since step 13 have an earlier one's shape, 20% at first"]


def test_a_domain_of_few_shapes_has_not_narrowed():
    assert said([step(n, known=6 if n <= 10 else 10) for n in range(1, 21)]) == []


def test_answers_that_repeat_are_told_since_the_step_in_which_they_do():
    steps = [step(n, rarity=1.0 if n < 10 else 0.875) for n in range(1, 21)]
    # two of five steps with an eighth make a twentieth, which is not above the threshold; three do, in step 12
    assert said(steps) == ["the answer of a new task since step 12 is that of 12% of tasks, 0% at first"]


def test_a_domain_of_few_answers_does_not_repeat_them():
    assert said([step(n, rarity=0.5 if n < 10 else 0.25) for n in range(1, 21)]) == []


def test_a_run_without_rarity_has_no_answers_to_repeat():
    assert said([step(n, rarity=None) for n in range(1, 10)]) == []


def test_a_loss_beyond_chance_is_told_since_the_first_evaluation_that_shows_it():
    first = Evaluation(0, {"deduction": [1] * 60 + [0] * 40})
    same = Evaluation(10, {"deduction": [1] * 59 + [0] * 41}, first)
    worse = Evaluation(20, {"deduction": [1] * 30 + [0] * 70}, first)
    worst = Evaluation(30, {"deduction": [1] * 20 + [0] * 80}, first)
    (alarm,) = alarms([], [first, same, worse, worst])
    assert alarm.since == 20
    assert alarm.text.startswith("held-out accuracy since step 20 is 40.0 points below the untrained model's")
    assert alarms([], [first, same]) == []
    assert alarms([], [first, worse, same]) == []  # it has recovered
