"""What one mark for each held-out task comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_marks_are_grouped_by_length_over_all_kinds():
    lengths = {"a": [12, 3], "b": [3, 4, None, 4]}
    found = Evaluation(0, {"a": [1, 0], "b": [1, 0, 1, 1]}, lengths=lengths)
    assert list(found.by_length().items()) == [("3", [0, 1]), ("4", [0, 1]), ("12", [1])]
    assert found.summary()["lengths"]["4"] == {"accuracy": 0.5, "interval": wilson(1, 2), "tasks": 2}


def test_many_lengths_share_six_groups_of_about_the_same_number_of_tasks():
    found = Evaluation(0, {"a": [1] * 12}, lengths={"a": [*range(1, 12), 11]}).by_length()
    assert {name: len(of) for name, of in found.items()} == {
        "1-2": 2, "3-4": 2, "5-6": 2, "7-8": 2, "9-10": 2, "11": 2,
    }  # fmt: skip


@given(st.lists(st.none() | st.integers(0, 40), min_size=1, max_size=60))
def test_every_task_of_known_length_is_in_one_of_at_most_six_groups(lengths):
    found = Evaluation(0, {"a": list(range(len(lengths)))}, lengths={"a": lengths}).by_length()
    known = [at for at, length in enumerate(lengths) if length is not None]
    assert sorted(at for group in found.values() for at in group) == known
    assert len(found) <= 6
    begin = [min(lengths[at] for at in group) for group in found.values()]
    assert begin == sorted(begin)


def test_an_evaluation_of_tasks_of_unknown_length_has_no_groups():
    assert "lengths" not in Evaluation(0, {"a": [1, 0]}, lengths={"a": [None, None]}).summary()


def test_an_evaluation_is_told_in_one_line():
    before, after = Evaluation(0, {"a": [0, 0]}), Evaluation(1, {"a": [1, 1]}, Evaluation(0, {"a": [0, 0]}))
    assert before.in_words(0.1) == "0.0% (0.0% to 0.0%), a random guess 10.0%"
    assert after.in_words(None) == f"100.0% (100.0% to 100.0%), {in_points(1.0, (1.0, 1.0))} on the untrained model"
