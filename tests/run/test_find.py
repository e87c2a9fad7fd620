"""Runs found by name, and what each is doing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from azr.analysis.runs import summaries, summary
from azr.arguments import model_or_run
from azr.errors import UserError
from azr.report.runs import runs_table
from azr.run.directory import RunDirectory, runs_in
from tests.runs import azr
from tests.test_cli import error_line

CONFIG = "steps = {steps}\n\n[model]\nname = 'none'\n"


def make_run(path: Path, *, steps: int = 2, done: int = 0, finished: bool = False, at: float = 1e9) -> Path:
    """A run's folder with as much of its files as a listing reads."""
    path.mkdir(parents=True)
    (path / "config.toml").write_text(CONFIG.format(steps=steps))
    if done:
        lines = [{"step": 0, "held_out": {"mean": {"accuracy": 0.25}}}]
        lines += [{"step": step, "kinds": {}} for step in range(1, done + 1)]
        lines += [{"step": done, "held_out": {"mean": {"accuracy": 0.375}}}]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (path / "seed.jsonl").write_text("")
    if finished:
        (path / "model").mkdir()
        (path / "model" / "README.md").write_text("")
    for file in path.glob("*.*"):
        os.utime(file, (at, at))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/demo-20261121-060701"), done=1, at=3e8)
    make_run(Path("runs/demo-20261121-070000"), done=2, finished=True, at=5e8)
    make_run(Path("runs/demo-20261121-070000-2"), at=4e8)
    make_run(Path("runs/sweep-primes/grpo/0/primes-20261121-080000"), at=2e8)
    return tmp_path


def test_a_path_is_itself(here):
    make_run(Path("elsewhere/mine"))
    assert RunDirectory.find("elsewhere/mine") == Path("elsewhere/mine")


def test_latest_is_the_run_that_was_written_to_last(here):
    assert RunDirectory.find("latest") == Path("runs/demo-20261121-070000")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("demo-20261121-06", "demo-20261121-060701"),
        ("demo-20261121-070000", "demo-20261121-070000"),
        ("sweep", "sweep-primes/grpo/0/primes-20261121-080000"),
    ],
)
def test_a_unique_beginning_or_a_whole_name_is_enough(here, text, found):
    assert RunDirectory.find(text) == Path("runs") / found


def test_several_runs_with_that_beginning_are_listed(here):
    names = "demo-20261121-060701, demo-20261121-070000, demo-20261121-070000-2"
    with pytest.raises(UserError, match=f"demo: 3 runs begin like this: {names}; type more"):
        RunDirectory.find("demo")


def test_what_fits_nothing_is_left_to_whoever_opens_it(here):
    assert RunDirectory.find("nowhere") == Path("nowhere")
    with pytest.raises(UserError, match=r"nowhere: no config\.toml there"):
        RunDirectory.open(RunDirectory.find("nowhere"))


def test_without_any_run_there_is_no_latest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="latest: there is no run"):
        RunDirectory.find("latest")


def test_half_made_folders_are_no_runs(tmp_path):
    make_run(tmp_path / ".partial-abc")
    assert runs_in(tmp_path) == []


def test_a_run_is_finished_when_its_steps_are_done_and_its_model_is_complete(tmp_path):
    assert summary(make_run(tmp_path / "a", done=2, finished=True)).state == "finished"
    assert summary(make_run(tmp_path / "b", done=2)).state == "stopped"
    assert summary(make_run(tmp_path / "c", steps=3, done=2, finished=True)).state == "stopped"


def test_a_run_whose_lock_is_held_is_running_or_seeding(tmp_path):
    for name, done, state in (("a", 1, "running"), ("b", 0, "seeding")):
        with RunDirectory(make_run(tmp_path / name, done=done)):
            assert summary(tmp_path / name).state == state
        assert summary(tmp_path / name).state == "stopped"


def test_looking_at_a_lock_leaves_it_free(tmp_path):
    run = RunDirectory(make_run(tmp_path / "a"))
    with run:
        pass
    assert not run.held()
    with run:
        assert run.held()


def test_the_gain_is_the_last_evaluation_less_the_first(tmp_path):
    assert summary(make_run(tmp_path / "a", done=1)).gain == 0.125
    assert summary(make_run(tmp_path / "b")).gain is None


def test_a_run_with_a_spoilt_file_is_listed_too(tmp_path):
    run = make_run(tmp_path / "a", done=1)
    (run / "metrics.jsonl").write_text("not json\n")
    assert [found.state for found in summaries(tmp_path)] == ["unreadable"]


def test_the_table_has_a_line_for_each_run_the_newest_first(here):
    console = Console(width=120, record=True)
    console.print(runs_table(Path("runs")))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines[0] == ["run", "steps", "gain", "state", "age"]
    assert [line[0] for line in lines[1:]] == [str(path.relative_to("runs")) for path in runs_in(Path("runs"))]
    assert lines[1][1:6] == ["2", "of", "2", "+12.5", "finished"]


def test_a_folder_without_runs_is_told(tmp_path):
    with pytest.raises(UserError, match="no runs there"):
        runs_table(tmp_path)


@pytest.mark.parametrize("text", ["latest", "demo-20261121-070000"])
def test_a_model_may_be_named_like_a_run(here, text):
    assert model_or_run(text) == "runs/demo-20261121-070000"


@pytest.mark.parametrize("text", ["demo", "nursery", "org/model", "m-2026@http://localhost:1/v1"])
def test_a_name_without_a_date_may_be_one_on_the_hub(here, text):
    assert model_or_run(text) == text


def test_a_command_takes_the_beginning_of_a_name(here):
    done = azr("watch", "demo-2", "--once", cwd=here)
    assert "3 runs begin like this" in error_line(done)
