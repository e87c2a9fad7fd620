"""The buffer in SQLite of environments/azr_selfplay; it needs no verifiers."""

import importlib.util
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from azr.config import BufferConfig
from azr.domains.base import make_task
from azr.errors import UserError
from azr.selfplay.buffer import TaskBuffer
from azr.types import Task

SOURCE = Path(__file__).parents[2] / "environments" / "azr_selfplay" / "azr_selfplay" / "buffer.py"


@pytest.fixture(scope="module")
def stored() -> ModuleType:
    """The module, without its package, which imports verifiers."""
    spec = importlib.util.spec_from_file_location("azr_selfplay_buffer", SOURCE)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def opened(stored, tmp_path):
    """Opens the buffer as one process after another would."""
    buffers = []

    def opening(path: Path = tmp_path / "buffer.sqlite", **settings) -> TaskBuffer:
        buffers.append(stored.StoredBuffer(path, ["sum"], BufferConfig(**settings)))
        return buffers[-1]

    yield opening
    for buffer in buffers:
        buffer.close()


def task(number: int) -> Task:
    return make_task("sum", {"a": number}, fingerprint=str(number), shape="sum")


def test_tasks_and_answers_are_there_when_the_file_is_opened_again(opened):
    first = opened()
    for number in (2, 1):
        first.add(task(number), step=number + 4, answer="7")
    again = opened()
    assert [(one.data, one.born) for one in again.tasks("sum")] == [({"a": 2}, 6), ({"a": 1}, 5)]
    assert again.rarity("sum", "7") == 0.0


def test_another_process_tasks_are_seen_after_a_refresh(opened):
    mine, other = opened(), opened()
    other.add(task(1), step=1)
    assert mine.size("sum") == 0
    mine.refresh()
    mine.refresh()
    assert mine.size("sum") == 1
    assert mine.refusal(task(1)) == "duplicate"


def test_a_task_that_another_process_has_just_added_is_not_added_again(opened):
    mine, other = opened(), opened()
    other.add(task(1), step=1)
    assert mine.add(task(1), step=2) is None
    assert [one.born for one in opened().tasks("sum")] == [1]


def test_a_full_buffer_drops_its_oldest_task_when_it_is_opened_too(opened):
    buffer = opened(cap=2)
    for number in range(3):
        buffer.add(task(number), step=0)
    assert [one.data["a"] for one in opened(cap=2).tasks("sum")] == [1, 2]


def test_every_episode_has_a_number_of_its_own(opened):
    mine, other = opened(), opened()
    assert [mine.begin("sum"), other.begin("sum"), mine.begin("sum")] == [1, 2, 3]


def test_an_error_while_a_task_is_added_leaves_the_file_unlocked(opened):
    mine, other = opened(), opened()
    with pytest.raises(sqlite3.ProgrammingError):
        mine.add(make_task("sum", {"a": 1}, fingerprint="1", shape="1"), step=0, answer=object())
    other.add(task(2), step=1)
    assert [one.data for one in opened().tasks("sum")] == [{"a": 2}]


def test_a_file_that_is_no_database_is_one_line(opened, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database" * 100)
    with pytest.raises(UserError, match=r"notes\.txt: cannot be used as the task buffer: file is not a database"):
        opened(tmp_path / "notes.txt")


def test_the_file_is_plain_sqlite(opened, tmp_path):
    opened().add(task(1), step=1, answer="one")
    with sqlite3.connect(tmp_path / "buffer.sqlite") as rows:
        assert rows.execute("SELECT number, answer FROM tasks").fetchall() == [(1, "one")]
    rows.close()
