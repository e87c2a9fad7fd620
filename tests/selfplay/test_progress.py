"""Measured progress of the solver by length of task, worked out by hand."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.config import BufferConfig
from azr.domains.base import make_task
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.progress import measured_progress

DOMAIN = SimpleNamespace(length=lambda task: task.data["length"])


def buffer_of(tasks) -> TaskBuffer:
    """A buffer of tasks of (kind, length, step, solve rate); None for a task that was not attempted."""
    buffer = TaskBuffer(["deduction", "abduction"], BufferConfig())
    for number, (kind, length, step, rate) in enumerate(tasks):
        task = make_task(kind, {"length": length, "n": number}, fingerprint=str(number), shape="")
        buffer.add(task, step=step)
        if rate is not None:
            buffer.note(task, rate)
    return buffer


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        # steps 6 to 10 against steps 1 to 5, before step 11
        ([("deduction", 3, 5, 0.25), ("deduction", 3, 6, 0.75)], {("deduction", 3): 0.5}),
        ([("deduction", 3, 1, 0.5), ("deduction", 3, 4, 0.0), ("deduction", 3, 10, 1.0)], {("deduction", 3): 0.75}),
        ([("deduction", 3, 2, 1.0), ("deduction", 3, 8, 0.25)], {("deduction", 3): -0.75}),
        ([("deduction", 3, 2, 0.0), ("deduction", 4, 8, 1.0)], {}),
        ([("deduction", 3, 2, 0.0), ("abduction", 3, 8, 1.0)], {}),
        ([("deduction", 3, 2, 0.0), ("deduction", 3, 8, None)], {}),
    ],
    ids=["rise", "means", "fall", "other length", "other kind", "not attempted"],
)
def test_progress_is_the_rise_of_the_mean_solve_rate(tasks, expected):
    assert measured_progress(buffer_of(tasks), DOMAIN, 11) == expected


def test_seeds_do_not_count():
    assert measured_progress(buffer_of([("deduction", 3, 0, 0.0), ("deduction", 3, 4, 1.0)]), DOMAIN, 6) == {}


def test_older_tasks_do_not_count():
    tasks = [("deduction", 3, 4, 0.0), ("deduction", 3, 8, 0.5), ("deduction", 3, 13, 0.75)]
    assert measured_progress(buffer_of(tasks), DOMAIN, 15) == {("deduction", 3): 0.25}


RATES = st.lists(st.tuples(st.just("deduction"), st.integers(1, 3), st.integers(1, 12), st.floats(0, 1)), max_size=12)


@given(RATES)
def test_progress_survives_on_disk(tasks):
    buffer = buffer_of(tasks)
    loaded = TaskBuffer.load(buffer.dump(), ["deduction", "abduction"], BufferConfig())
    assert measured_progress(loaded, DOMAIN, 11) == measured_progress(buffer, DOMAIN, 11)


@given(RATES)
def test_progress_is_bounded(tasks):
    assert all(-1 <= value <= 1 for value in measured_progress(buffer_of(tasks), DOMAIN, 11).values())
