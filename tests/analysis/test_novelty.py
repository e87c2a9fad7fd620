"""Is self-play still inventing? Shares and alarms against small tables."""

import pytest

from azr.analysis.novelty import alarms, diversity, signal
from azr.config import BufferConfig
from azr.domains.base import make_task
from azr.selfplay.buffer import TaskBuffer


def tasks(*shapes: str, start: int = 0):
    return [make_task("deduction", {"n": n}, fingerprint=str(n), shape=shape) for n, shape in enumerate(shapes, start)]


def buffer_of(*every):
    buffer = TaskBuffer(["deduction"], BufferConfig())
    for task in every:
        buffer.add(task, step=1)
    return buffer


def test_diversity_counts_shapes_and_degenerate_forms():
    new = tasks("a", "a", "b", "c")
    found = diversity(new, ["identity", None, "constant", None], buffer_of(*new))
    shapes = {"distinct_shapes": 0.75, "known_shapes": 0.0}
    assert found == {"trivial": 0.5, "trivial_constant": 0.25, "trivial_identity": 0.25, **shapes}


def test_a_shape_is_known_when_a_task_of_an_earlier_step_has_it():
    old, new = tasks("a", "b"), tasks("a", "a", "c", "d", start=2)
    assert diversity(new, [None] * 4, buffer_of(*old, *new))["known_shapes"] == 0.5


def test_no_new_tasks_have_no_diversity():
    assert diversity([], [], buffer_of()) == {}


def test_signal_counts_tasks_and_rollouts_that_teach_nothing():
    found = signal([0.0, 1.0, 0.5, 1.0], [(0.0, 0.0), (0.5,), (0.0,), (-0.5, 0.0)])
    assert found == {"all_solved": 0.5, "none_solved": 0.25, "zero_advantage": 0.5}


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ({"trivial": 0.38, "trivial_identity": 0.38}, "38% of new tasks are trivial: identity"),
        ({"distinct_shapes": 0.1}, "only 10% of new tasks differ in shape"),
        ({"zero_advantage": 0.95}, "95% of rollouts have no advantage"),
        ({"all_solved": 0.95}, "every attempt solves 95% of new tasks"),
        ({"none_solved": 0.95}, "no attempt solves 95% of new tasks"),
    ],
)
def test_an_alarm_says_in_words_what_went_stale(measures, said):
    (alarm,) = alarms(measures)
    assert alarm.startswith(said)


def test_a_healthy_step_raises_no_alarm():
    assert alarms({"trivial": 0.05, "distinct_shapes": 0.9, "zero_advantage": 0.3}) == []
