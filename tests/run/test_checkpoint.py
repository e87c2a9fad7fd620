"""Checkpoints: whole or absent."""

import itertools
import os
import sys

import pytest

from azr.errors import UserError
from azr.run.checkpoint import Checkpoints, State, check_resumable, read_buffer, read_state
from tests.runs import forkserver

DIED = 9


def save_weights(folder):
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("w")


def fail(folder):
    save_weights(folder)
    raise OSError(28, "No space left on device")


def test_what_is_saved_is_read_back(tmp_path):
    state = State(step=3, lengths={"events.jsonl": 10}, failed_steps=1, seconds=2.5, before={"mean": 0.5})
    path = Checkpoints(tmp_path, keep=2).save(state, ['{"id": "a"}', '{"id": "b"}'], save_weights)
    assert (read_state(path), read_buffer(path)) == (state, ['{"id": "a"}', '{"id": "b"}'])


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(4):
        checkpoints.save(State(step, {}), [], save_weights)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000002", "000003"]


def test_the_newest_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    for step in (1, 12, 3):
        checkpoints.save(State(step, {}), [], save_weights)
    assert checkpoints.newest().name == "000012"


def test_steps_of_seven_digits_count_as_newer_than_those_of_six(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (999989, 999999, 1000000):
        checkpoints.save(State(step, {}), [], save_weights)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1000000", "999999"]
    assert checkpoints.newest().name == "1000000"


def test_a_new_run_has_none(tmp_path):
    assert Checkpoints(tmp_path, keep=1).newest() is None


def test_one_that_failed_halfway_does_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(State(1, {}), [], save_weights)
    with pytest.raises(UserError, match="no space left on device; free some space"):
        checkpoints.save(State(2, {}), [], fail)
    assert checkpoints.newest().name == "000001"


def test_what_a_crash_left_behind_is_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    with pytest.raises(UserError):
        checkpoints.save(State(2, {}), [], fail)
    checkpoints.save(State(2, {}), [], save_weights)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000002"]


def test_a_step_that_is_played_again_replaces_its_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(State(1, {}), ['"old"'], save_weights)
    path = checkpoints.save(State(1, {}), ['"new"'], save_weights)
    assert read_buffer(path) == ['"new"']


def _save_and_die(folder, state, buffer, nth):
    """Save a checkpoint, and exit at once before the n-th change to the file system."""
    changes = itertools.count(1)

    def die(event, arguments):
        changes_something = event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"} or (
            event == "open" and isinstance(arguments[1], str) and arguments[1] != "r"
        )
        if changes_something and next(changes) == nth:
            os._exit(DIED)

    sys.addaudithook(die)
    Checkpoints(folder, keep=1).save(state, buffer, save_weights)


@pytest.mark.parametrize("last", [0, 1], ids=["of the same step", "of the next step"])
def test_a_process_that_dies_while_it_saves_leaves_the_checkpoint_from_before_or_the_new_one(tmp_path, last):
    old, new = (State(0, {}, seconds=1.0), ['"old"']), (State(last, {}, seconds=2.0), ['"new"'])
    for nth in itertools.count(1):
        run = tmp_path / str(nth)
        run.mkdir()
        Checkpoints(run, keep=1).save(*old, save_weights)
        process = forkserver.Process(target=_save_and_die, args=(run, *new, nth))
        process.start()
        process.join()
        newest = Checkpoints(run, keep=1).newest()
        assert newest is not None, nth
        assert (read_state(newest), read_buffer(newest)) in (old, new), nth
        path = Checkpoints(run, keep=1).save(*new, save_weights)
        assert list((run / "checkpoints").iterdir()) == [path], nth
        assert (read_state(path), read_buffer(path)) == new
        if process.exitcode != DIED:
            break
    assert nth > 10  # it died at many places


@pytest.mark.parametrize(("file", "read"), [("state.json", read_state), ("buffer.jsonl", read_buffer)])
def test_a_file_that_somebody_spoilt_is_told_with_what_to_do(tmp_path, file, read):
    Checkpoints(tmp_path, keep=2).save(State(2, {}), ["{}"], save_weights)
    path = Checkpoints(tmp_path, keep=2).save(State(3, {}), ["{}"], save_weights)
    (path / file).write_text("{")
    with pytest.raises(UserError, match=rf"000003/{file}: cannot be read .* from the checkpoint before, 000002"):
        read(path)


def test_without_an_older_one_the_advice_is_to_start_afresh(tmp_path):
    path = Checkpoints(tmp_path, keep=2).save(State(3, {}), ["{}"], save_weights)
    (path / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"restore it; to start afresh: azr train .*/config\.toml"):
        read_state(path)


def test_a_run_that_ended_in_its_first_evaluation_starts_again(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"event": "held_out", "step": 0}\n{"event": "held')
    check_resumable(tmp_path)


def test_a_run_with_logs_and_without_checkpoints_is_not_resumable(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"event": "held_out", "step": 0}\n{"event": "proposal", "step": 0}\n')
    with pytest.raises(UserError, match="resuming would erase them"):
        check_resumable(tmp_path)
