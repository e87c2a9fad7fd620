"""What one mark for each held-out task comes to."""

import pytest

from azr.analysis.held_out import Evaluation
from azr.analysis.statistics import wilson
from azr.analysis.text import in_points

FIRST = Evaluation(0, {"a": [1, 0], "b": [0, 0, 0, 1]})


def test_accuracy_is_the_mean_of_kinds():
    assert FIRST.accuracy == 0.375
    assert FIRST.tasks == 6
    assert FIRST.summary()["kinds"]["b"]["accuracy"] == 0.25


def test_the_gain_is_paired_by_task():
    assert Evaluation(1, {"a": [1, 1]}, Evaluation(0, {"a": [1, 0]})).gain == (0.5, (0.0, 1.0))


def test_evaluations_of_different_tasks_have_no_gain():
    with pytest.raises(ValueError, match="shorter"):
        Evaluation(1, {"a": [1]}, Evaluation(0, {"a": [1, 0]})).gain


def test_a_summary_has_the_gain_unless_it_is_the_first():
    after = Evaluation(1, {"a": [1, 1], "b": [1, 0, 0, 1]}, FIRST)
    assert set(FIRST.summary()) == {"mean", "kinds"}
    assert after.summary()["gain"] == {"accuracy": 0.375, "interval": after.gain[1]}
    assert after.summary()["kinds"]["b"] == {"accuracy": 0.5, "interval": wilson(2, 4), "tasks": 4}


def test_an_evaluation_is_told_in_one_line():
    before, after = Evaluation(0, {"a": [0, 0]}), Evaluation(1, {"a": [1, 1]}, Evaluation(0, {"a": [0, 0]}))
    assert before.in_words(0.1) == "0.0% (0.0% to 0.0%), a random guess 10.0%"
    assert after.in_words(None) == f"100.0% (100.0% to 100.0%), {in_points(1.0, (1.0, 1.0))} on the untrained model"
