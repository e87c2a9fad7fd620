"""Intervals against published figures and against an independent bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.analysis.statistics import (
    bootstrap_gain,
    bootstrap_mean,
    mean_of_kinds,
    over_runs,
    student,
    wilson,
    with_interval,
)

marks = st.lists(st.integers(0, 1), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_equals_newcombes_published_figures(successes, trials, low, high):
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, Table I, method 3
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_means_nothing_known():
    assert wilson(0, 0) == (0.0, 1.0)


def test_kinds_count_alike_whatever_their_size():
    assert mean_of_kinds({"a": [1] * 100, "b": [0]}) == 0.5


def test_the_mean_of_no_tasks_is_zero():
    assert mean_of_kinds({"a": []}) == 0.0


def test_the_paired_gain_equals_an_independent_bootstrap():
    rng = np.random.default_rng(5)
    before, after = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    draws = np.random.default_rng(99).integers(80, size=(20_000, 80))
    expected = np.percentile((after - before)[draws].mean(axis=1), [2.5, 97.5])
    found = bootstrap_gain({"a": before.tolist()}, {"a": after.tolist()})
    assert found == pytest.approx(tuple(expected), abs=0.0126)  # one task more or less


@given(marks)
def test_no_change_is_no_gain(made):
    assert bootstrap_gain({"a": made}, {"a": made}, draws=50) == (0.0, 0.0)


@given(st.dictionaries(st.sampled_from("abc"), marks, min_size=1))
def test_the_mean_lies_within_its_interval_or_at_its_edge(correct):
    low, high = bootstrap_mean(correct, draws=2000)
    assert 0.0 <= low <= high <= 1.0
    assert low - 0.2 <= mean_of_kinds(correct) <= high + 0.2


def test_other_tasks_cannot_be_compared():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        bootstrap_gain({"a": [1, 0]}, {"a": [1]})


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_students_quantile_equals_the_printed_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, abs=5e-4)


def test_the_interval_over_runs_equals_one_computed_by_hand():
    # mean 2, standard deviation 1, t of 2 degrees of freedom 4.3027: half the width is 4.3027 / sqrt(3) = 2.4841
    mean, interval = over_runs([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert interval == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    assert with_interval([1.0, 2.0, 3.0]) == "+2.0 (-0.5 to +4.5)"


def test_a_single_run_has_no_interval():
    assert over_runs([1.5]) == (1.5, None)
    assert with_interval([1.5]) == "+1.5 (one run)"
