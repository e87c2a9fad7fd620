"""From what was timed to the time of a run, worked out by hand."""

from dataclasses import replace

import pytest

from azr.plan.cards import Card
from azr.plan.memory import Shape, count
from azr.plan.pace import Pace, Work, _extrapolated, of_card, seconds, work
from azr.plan.trial import Trial, evaluations, times
from azr.train.start import resolve

TRIAL = Trial(
    batch=4,
    steps=1,
    proposal=0.5,
    valid={"deduction": 0.5, "abduction": 1.0, "induction": 0.4},
    play=3.0,
    learn=2.0,
    rollouts=10,
    tokens=100,
    unfinished=0.0,
    jobs=1,
    sandbox=1.0,
    events=1,
    answer=0.01,
)
LENGTHS = ["generation.max_prompt_tokens=100", "generation.max_propose_tokens=20", "generation.max_solve_tokens=10"]


def small(*assignments):
    """Three kinds, four proposals of each, five attempts."""
    return resolve(
        "demo", ["selfplay.batch_size=4", "selfplay.samples=5", "learner.minibatches=1", *LENGTHS, *assignments]
    )


def test_a_steps_time_grows_with_its_proposals():
    config = resolve("demo", ["selfplay.batch_size=16", "evaluation.tasks=0", "selfplay.seed_file=x"])
    found = times(config, TRIAL)
    assert found.step == 4 * (3.0 + 2.0)
    assert found.run == config.steps * found.step


def test_seeding_takes_whole_batches_until_every_buffer_is_full():
    # S = 3 batches of valid tasks: 6, 3 and 8 (7.5) batches of 4 proposals, half a second each.
    found = times(small("selfplay.seed_factor=3"), TRIAL)
    assert found.seeding == pytest.approx((6 + 3 + 8) * 4 * 0.5)


def test_seeding_ends_after_its_attempts_where_nothing_is_valid():
    trial = replace(TRIAL, valid={"deduction": 0.0})
    assert times(small("selfplay.seed_attempts=7"), trial).seeding == pytest.approx(7 * 4 * 0.5)


def test_evaluations_come_before_during_and_after():
    assert evaluations(resolve("demo", ["steps=30", "evaluation.every=10"])) == 4
    assert evaluations(resolve("demo", ["steps=30", "evaluation.every=0"])) == 2
    assert evaluations(resolve("demo", ["evaluation.tasks=0"])) == 0
    assert evaluations(resolve("demo", ["selfplay.learn=false"])) == 1


def test_an_evaluation_asks_every_kind():
    assert times(small("evaluation.tasks=50"), TRIAL).evaluation == pytest.approx(3 * 50 * 0.01)


def test_the_most_that_a_step_asks_for():
    tasks = 3 * 4
    assert work(small(), 3) == Work(
        read=2 * tasks * 100,
        sampled=tasks * 20 + tasks * 5 * 10,
        learnt=tasks * (100 + 20) + tasks * (100 + 5 * 10),
        updates=1,
    )


def test_fresh_attempts_are_asked_for_beside_those_that_measure_learnability():
    tasks = 3 * 4
    assert work(small("selfplay.learn_from_samples=false"), 3) == Work(
        read=3 * tasks * 100,
        sampled=tasks * 20 + tasks * 5 * 10 + tasks * 10,
        learnt=tasks * (100 + 20) + tasks * (100 + 10),
        updates=1,
    )


def test_nothing_is_learnt_without_a_learner():
    asked = work(small("selfplay.learn=false", "selfplay.learn_from_samples=false"), 3)
    assert (asked.learnt, asked.updates) == (0, 0)
    assert asked.sampled == 12 * 20 + 12 * 5 * 10


def test_time_is_work_at_its_pace():
    assert seconds(Work(1000, 100, 10, 2), Pace(0.001, 0.01, 0.1, 1.0, 8)) == pytest.approx(1 + 1 + 1 + 2)


def test_two_layers_are_drawn_extrapolated_all():
    drawn = _extrapolated(Pace(1, 2, 3, 4, 8), Pace(1.5, 2, 5, 3, 8), layers=11)
    assert drawn == Pace(6.0, 2.0, 23.0, 4.0, 8)  # noise that makes two layers faster than one is not extrapolated


SHAPE = Shape(
    parameters=10**9,
    linear=9 * 10**8,
    adapter=10**6,
    layers=10,
    hidden=1000,
    intermediate=4000,
    heads=8,
    kv_heads=2,
    attention=1000,
    kv=250,
    vocabulary=1000,
)


def paced(bandwidth: float, flops: float, *assignments):
    config = small("generation.max_rows=100", *assignments)
    return of_card(SHAPE, config, count(SHAPE, config, width=2), Card(2**40, bandwidth, flops, 1e9, "x"), width=2)


def test_where_bandwidth_is_short_sampling_waits_for_weights_and_half_of_the_cache():
    cache = 2 * 10 * 250 * 2 * 120 / 2  # keys and values, layers, width, bytes, half of a row
    pace = paced(1e12, 1e18)
    assert pace.sampled == pytest.approx((2e9 + 100 * cache) / 0.5e12 / 100)


def test_where_speed_is_short_sampling_waits_for_products():
    assert paced(1e18, 1e12).sampled == pytest.approx(2 * 10**9 / 0.35e12)


@pytest.mark.parametrize(
    ("word", "operations"),
    [
        ("steps=1", 6),
        ("model.gradient_checkpointing=true", 8),
        ("model.lora.rank=1", 4),
    ],
)
def test_learning_computes_so_many_operations_a_weight(word, operations):
    assert paced(1e12, 1e15, word).learnt == pytest.approx(operations * 10**9 / 0.35e15)
