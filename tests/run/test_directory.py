"""The run directory: logs that only grow, and are cut back to a checkpoint."""

import json

import pytest

from azr.errors import UserError
from azr.run.directory import EVENTS, METRICS, RunDirectory, explained, read_jsonl


@pytest.fixture
def run(tmp_path):
    with RunDirectory.create(tmp_path, "demo", "steps = 3\n") as directory:
        yield directory


def test_a_new_run_keeps_its_configuration(run):
    assert run.tree() == {"steps": 3}


def test_runs_of_one_second_get_folders_of_their_own(tmp_path):
    paths = {RunDirectory.create(tmp_path, "demo", "").path for _ in range(3)}
    assert len(paths) == 3


def test_nothing_half_made_stays_beside_the_runs(tmp_path):
    RunDirectory.create(tmp_path, "demo", "")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_written_is_read_back(run):
    run.write(EVENTS, [{"n": 1}, {"text": 'a "quoted"\nline é \ud800'}])
    assert list(read_jsonl(run.path / EVENTS)) == [{"n": 1}, {"text": 'a "quoted"\nline é \ud800'}]


def test_a_cut_takes_back_what_came_after_the_lengths(run):
    run.write(EVENTS, [{"n": 1}])
    lengths = run.lengths()
    run.write(EVENTS, [{"n": 2}])
    run.write(METRICS, [{"n": 2}])
    run.cut(lengths)
    run.write(EVENTS, [{"n": 3}])
    assert [record["n"] for record in read_jsonl(run.path / EVENTS)] == [1, 3]
    assert list(read_jsonl(run.path / METRICS)) == []


def test_a_log_that_was_shortened_by_somebody_is_told(run):
    with pytest.raises(UserError, match="shorter than at the checkpoint"):
        run.cut({EVENTS: 1000})


def test_a_line_that_is_cut_off_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"n": 1}) + "\n" + '{"n": 2')
    assert list(read_jsonl(path)) == [{"n": 1}]


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no config\.toml there"):
        RunDirectory.open(tmp_path)


def test_two_processes_cannot_hold_one_run(run):
    with pytest.raises(UserError, match="another process"), RunDirectory.open(run.path):
        pass


def test_a_run_can_be_held_again_after_it_was_let_go(tmp_path):
    with RunDirectory.create(tmp_path, "demo", "") as first:
        pass
    with RunDirectory.open(first.path):
        pass


def test_an_output_dir_that_is_a_file_is_told(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"runs: file exists; choose another output_dir"):
        RunDirectory.create(tmp_path / "runs", "demo", "")


def test_a_configuration_that_somebody_spoilt_is_told(run):
    (run.path / "config.toml").write_text("steps = = 3")
    with pytest.raises(UserError, match=r"config\.toml: not valid TOML"):
        run.tree()


@pytest.mark.parametrize("spoilt", [b'{"n": 2, broken\n', b"\xff\xfe\n", b"[2]\n"])
def test_a_line_that_is_no_record_is_told_with_its_number(tmp_path, spoilt):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"n": 1}\n' + spoilt + b'{"n": 3}\n')
    with pytest.raises(UserError, match=r"log\.jsonl: line 2 .*; it was changed, restore it"):
        list(read_jsonl(path))


def test_what_to_do_about_a_file_is_said_by_whoever_writes_it(tmp_path):
    told = pytest.raises(UserError, match="no such file or directory; name another")
    with told, explained(tmp_path, remedy="name another"):
        (tmp_path / "nowhere" / "file").write_text("")
