"""Eq. 4-6 against tables worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.config import Intrinsic, RewardConfig
from azr.selfplay.rewards import intrinsic_reward, learnability, mean, propose_reward, solve_reward
from azr.types import Verdict

ACCEPTED = Verdict(True, 1.0, "accepted")
INVALID = Verdict(True, 0.0, "error")
MALFORMED = Verdict(False, 0.0, "no_answer")
CORRECT = Verdict(True, 1.0, "correct")
WRONG = Verdict(True, 0.0, "wrong")
HALF = Verdict(True, 0.5, "wrong")

paper, reference = RewardConfig(profile="paper"), RewardConfig(profile="reference")
scores = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=16)


@pytest.mark.parametrize(
    ("successes", "of", "expected"), [(0, 8, 0.0), (1, 8, 0.875), (4, 8, 0.5), (7, 8, 0.125), (8, 8, 0.0), (1, 1, 0.0)]
)
def test_learnability_is_one_minus_the_solve_rate_unless_unsolved(successes, of, expected):
    assert learnability([1.0] * successes + [0.0] * (of - successes)) == pytest.approx(expected)


def test_learnability_of_an_untried_task_is_an_error():
    with pytest.raises(ValueError, match="no attempts"):
        learnability([])


@given(scores)
def test_learnability_stays_within_zero_and_one(made):
    assert 0.0 <= learnability(made) < 1.0


@given(scores)
def test_learnability_falls_when_one_more_attempt_succeeds(made):
    if 0.0 in made and mean(made) > 0:
        better = list(made)
        better[better.index(0.0)] = 1.0
        assert learnability(better) < learnability(made)


@pytest.mark.parametrize(
    ("config", "verdict", "made", "expected"),
    [
        (paper, ACCEPTED, [0.0, 0.0], 0.0),
        (paper, ACCEPTED, [1.0, 1.0], 0.0),
        (paper, ACCEPTED, [1.0, 0.0, 0.0, 0.0], 0.75),
        (reference, ACCEPTED, [0.0, 0.0], -0.5),
        (reference, ACCEPTED, [1.0, 1.0], -0.5),
        (reference, ACCEPTED, [1.0, 0.0, 0.0, 0.0], 0.75),
        (paper, INVALID, [], -1.0),
        (reference, INVALID, [], -1.0),
        (paper, MALFORMED, [], -1.0),
    ],
)
def test_propose_reward_follows_the_profile(config, verdict, made, expected):
    assert propose_reward(verdict, made, config) == expected


@pytest.mark.parametrize(("verdict", "expected"), [(CORRECT, 1.0), (WRONG, -0.5), (HALF, -0.5), (MALFORMED, -1.0)])
def test_solve_reward_is_the_composite_of_equation_six(verdict, expected):
    assert solve_reward(verdict, paper) == expected


def test_partial_credit_pays_the_share_that_is_right():
    assert solve_reward(HALF, RewardConfig(partial_credit=True)) == 0.5


def test_partial_credit_for_nothing_right_is_the_penalty():
    assert solve_reward(WRONG, RewardConfig(partial_credit=True)) == -0.5


def test_intrinsic_rewards_are_capped_and_weighted():
    config = RewardConfig(complexity=Intrinsic(coefficient=0.5, cap=0.4), novelty=Intrinsic(coefficient=2.0, cap=1.0))
    values = {"complexity": 0.9, "novelty": 0.25, "diversity": 1.0}
    assert intrinsic_reward(values, config) == pytest.approx(0.5 * 0.4 + 2.0 * 0.25)


def test_intrinsic_rewards_are_off_by_default():
    assert intrinsic_reward({"complexity": 1.0, "novelty": 1.0, "diversity": 1.0}, RewardConfig()) == 0.0
