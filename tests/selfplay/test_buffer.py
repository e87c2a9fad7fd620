"""The task buffers: what enters, what leaves, what is drawn, and that nothing is lost on disk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.config import BufferConfig
from azr.domains.base import make_task
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.step import WORTH
from azr.streams import stream


def task(number: int, kind: str = "deduction", shape: str | None = None):
    return make_task(kind, {"n": number}, fingerprint=str(number), shape=shape or str(number))


def filled(count: int, **config) -> TaskBuffer:
    buffer = TaskBuffer(["deduction", "abduction"], BufferConfig(**config))
    for number in range(count):
        buffer.add(task(number), step=number, answer=str(number % 2))
    return buffer


def numbers(buffer: TaskBuffer) -> list[int]:
    return [task.data["n"] for task in buffer.tasks("deduction")]


def test_a_full_buffer_drops_the_oldest_and_keeps_the_new():
    assert numbers(filled(5, cap=3)) == [2, 3, 4]


def test_kinds_are_capped_apart():
    buffer = filled(3, cap=3)
    buffer.add(task(9, "abduction"), step=9)
    assert (buffer.size("deduction"), buffer.size("abduction")) == (3, 1)


def test_a_task_is_stamped_with_the_step_it_enters():
    assert [task.born for task in filled(3).tasks("deduction")] == [0, 1, 2]


def test_an_exact_duplicate_is_refused():
    buffer = filled(2)
    twin = make_task("deduction", {"n": "other spelling"}, fingerprint="1", shape="x")
    assert (buffer.refusal(twin), buffer.add(twin, step=3)) == ("duplicate", None)


def test_duplicates_enter_where_the_setting_allows_them():
    buffer = filled(2, reject_duplicates=False)
    twin = make_task("deduction", {"n": "other spelling"}, fingerprint="1", shape="x")
    assert buffer.add(twin, step=3) is not None


def test_a_dropped_task_may_come_again():
    buffer = filled(5, cap=3)
    assert buffer.refusal(task(0)) is None


def test_the_shape_limit_refuses_the_near_duplicate_too_many():
    buffer = TaskBuffer(["deduction"], BufferConfig(shape_limit=2))
    assert [buffer.add(task(n, shape="same"), step=0) is not None for n in range(3)] == [True, True, False]


def test_a_draw_repeats_with_its_stream():
    buffer = filled(20)
    draws = [[t.id for t in buffer.draw(["deduction"], 6, stream(7, "draw"))] for _ in range(2)]
    assert draws[0] == draws[1]


@given(st.integers(0, 30), st.integers(0, 10), st.booleans())
def test_a_draw_is_without_replacement_and_as_large_as_can_be(size, count, recent):
    drawn = filled(size).draw(["deduction"], count, stream(0), half_life=4.0 if recent else None)
    assert len({task.id for task in drawn}) == len(drawn) == min(size, count)


def test_recency_prefers_new_tasks():
    buffer = filled(100)
    drawn = [t.data["n"] for seed in range(200) for t in buffer.draw(["deduction"], 1, stream(seed), half_life=5.0)]
    assert sum(number >= 90 for number in drawn) / len(drawn) == pytest.approx(0.75, abs=0.1)  # 1 - 2 ** -(10 / 5)


def test_learnable_tasks_are_drawn_in_proportion_to_what_was_noted():
    buffer = filled(4)
    for number, solve_rate in enumerate((0.0, 0.75, 0.25)):
        buffer.note(task(number), solve_rate)
    drawn = [
        t.data["n"] for n in range(400) for t in buffer.draw(["deduction"], 1, stream(n), worth=WORTH["learnable"])
    ]
    assert set(drawn) == {1, 2}
    assert drawn.count(2) / 400 == pytest.approx(0.75, abs=0.08)


def test_solved_tasks_are_drawn_in_proportion_to_their_solve_rate():
    buffer = filled(4)
    for number, solve_rate in enumerate((0.0, 1.0, 0.25)):
        buffer.note(task(number), solve_rate)
    drawn = [t.data["n"] for n in range(400) for t in buffer.draw(["deduction"], 1, stream(n), worth=WORTH["solved"])]
    assert set(drawn) == {1, 2}
    assert drawn.count(1) / 400 == pytest.approx(0.8, abs=0.08)


def test_tasks_without_learnability_fill_up_a_draw():
    buffer = filled(4)
    buffer.note(task(2), 0.5)
    assert len(buffer.draw(["deduction"], 4, stream(0), half_life=2.0, worth=WORTH["learnable"])) == 4


def test_what_was_noted_survives_on_disk_and_in_a_copy_and_leaves_with_its_task():
    buffer = filled(3, cap=3)
    buffer.note(task(0), 0.5)
    loaded = TaskBuffer.load(buffer.dump(), ["deduction", "abduction"], BufferConfig(cap=3))
    assert list(loaded.dump()) == list(buffer.copy().dump()) == list(buffer.dump())
    assert json.loads(next(loaded.dump()))["solve_rate"] == 0.5
    loaded.add(task(7), step=7)
    loaded.note(task(0), 0.5)
    assert all("solve_rate" not in line for line in loaded.dump())


def test_a_uniform_draw_covers_the_whole_buffer():
    buffer = filled(10)
    drawn = {t.data["n"] for seed in range(100) for t in buffer.draw(["deduction"], 2, stream(seed))}
    assert drawn == set(range(10))


def test_rarity_is_one_minus_the_answers_share():
    buffer = filled(4)
    assert [buffer.rarity("deduction", answer) for answer in ("0", "new")] == [0.5, 1.0]


def test_rarity_in_an_empty_buffer_is_one():
    assert filled(0).rarity("deduction", "x") == 1.0


@given(st.integers(0, 12), st.integers(1, 6))
def test_what_is_dumped_loads_to_the_same(size, cap):
    config = BufferConfig(cap=cap, shape_limit=2)
    buffer = filled(size, cap=cap, shape_limit=2)
    lines = list(buffer.dump())
    loaded = TaskBuffer.load(lines, ["deduction", "abduction"], config)
    assert list(loaded.dump()) == lines
    assert loaded.tasks("deduction", "abduction") == buffer.tasks("deduction", "abduction")
    assert [loaded.refusal(task(n)) for n in range(12)] == [buffer.refusal(task(n)) for n in range(12)]


def test_kinds_that_are_not_played_are_left_out_when_loading():
    lines = list(filled(2).dump())
    assert len(TaskBuffer.load(lines, ["abduction"], BufferConfig())) == 0


def test_a_dumped_line_is_plain_json():
    (line,) = filled(1).dump()
    assert json.loads(line)["data"] == {"n": 0}
