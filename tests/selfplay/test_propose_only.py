"""Playing without learning, and a served model from end to end: the server runs a real model in a process of its own."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests.rollout.test_endpoint import server
from tests.runs import azr, events, metrics, only_run, tiny_config

KEY = "sk-very-secret"


@pytest.fixture(scope="module")
def served(apprentice):
    with server("--model", str(apprentice), "--key", KEY) as url:
        yield f"served@{url}"


@pytest.fixture(scope="module")
def run(apprentice, served, tmp_path_factory):
    """A propose-only run of three steps by a served model."""
    folder = tmp_path_factory.mktemp("served")
    words = ["--model", served, "selfplay.learn=false", "--output-dir", folder / "out"]
    done = azr("train", tiny_config(folder, apprentice), *words, cwd=folder, env=os.environ | {"AZR_API_KEY": KEY})
    assert done.returncode == 0, done.stderr
    return only_run(folder / "out"), done.stdout + done.stderr


def kinds_of(found) -> set[str]:
    return {event["event"] for event in found}


@pytest.mark.slow
def test_a_served_model_proposes_and_its_attempts_measure_learnability(run):
    found = events(run[0])
    assert kinds_of(found) == {"proposal", "verdict", "task", "attempt", "reward"}
    steps = [line for line in metrics(run[0]) if "kinds" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert any(values["learnability"] is not None for line in steps for values in line["kinds"].values())
    assert all(line["learner"] == {} for line in steps)


@pytest.mark.slow
def test_its_attempts_are_those_at_its_own_tasks_only(run):
    found = [event for event in events(run[0]) if event["step"] > 0]
    tasks = {event["task"]["id"] for event in found if event["event"] == "task"}
    attempted = [event["task"] for event in found if event["event"] == "attempt"]
    assert set(attempted) == tasks
    assert len(attempted) == 3 * len([event for event in found if event["event"] == "task"])


@pytest.mark.slow
def test_its_tasks_are_filed_and_nothing_else_is_kept(run):
    assert not (run[0] / "model").exists()
    newest = run[0] / "checkpoints" / "000003"
    assert {path.name for path in newest.iterdir()} == {"buffer.jsonl", "state.json"}
    assert f"tasks: {newest / 'buffer.jsonl'} (a run starts from them with selfplay.seed_file)" in run[1]


@pytest.mark.slow
def test_the_key_is_in_no_file_and_in_no_line(run):
    assert KEY not in run[1]
    for path in run[0].rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_run_trains_on_the_tasks_that_a_served_model_filed(run, apprentice, tmp_path):
    tasks = run[0] / "checkpoints" / "000003" / "buffer.jsonl"
    words = [f"selfplay.seed_file={tasks}", "--steps", 1, "--output-dir", "out"]
    done = azr("train", tiny_config(tmp_path, apprentice), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    theirs, ours = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tasks, only_run(tmp_path / "out") / "seed.jsonl")
    )
    for task in theirs:
        task.pop("solve_rate", None)  # it says how the served model fared
    assert ours == [task | {"born": 0} for task in theirs]


@pytest.mark.slow
def test_what_was_not_learnt_from_cannot_be_explained(run, tmp_path):
    done = azr("explain", run[0], "1/propose/deduction/0000", cwd=tmp_path)
    assert done.returncode == 2
    assert "no rollout 1/propose/deduction/0000 was learnt from" in done.stderr


@pytest.mark.slow
def test_a_local_model_proposes_without_learning_and_resumes_to_the_same_bytes(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice)
    done = azr("train", config, "selfplay.learn=false", "checkpoint.keep=9", "--output-dir", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "out")
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for step in (2, 3):
        shutil.rmtree(again / "checkpoints" / f"{step:06d}")
    done = azr("train", "--resume", again, cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert (again / "events.jsonl").read_bytes() == (run / "events.jsonl").read_bytes()
    assert metrics(again) == metrics(run)


@pytest.mark.slow
def test_a_served_model_scores_what_it_scores_here(apprentice, served, tmp_path):
    """At temperature 0 a server over the same weights writes the same texts; one number is rounded differently at most."""
    held_out = tmp_path / "held.jsonl"
    tasks = [
        {"kind": "deduction", "data": {"program": f"def f(a):\n    return a + {n}", "input": "1", "output": str(n + 1)}}
        for n in range(2, 8)
    ]
    held_out.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    words = ["--bench", f"python:{held_out}", "--max-tokens", 40, "--out", "out"]
    done = azr("eval", apprentice, served, *words, cwd=tmp_path, env=os.environ | {"AZR_API_KEY": KEY})
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "out" / "completions").rglob("*.jsonl"))
    here, there = ([json.loads(line)["samples"][0] for line in file.read_text().splitlines()[1:]] for file in files)
    assert [sample["completion"] for sample in here] == [sample["completion"] for sample in there]
    assert [sample["tokens"] for sample in here] == [sample["tokens"] for sample in there]
    assert all(KEY not in path.read_text() for path in (tmp_path / "out").rglob("*.json*"))


@pytest.mark.slow
def test_a_wrong_key_is_one_line_and_leaves_nothing_behind(apprentice, served, tmp_path):
    words = ["--model", served, "selfplay.learn=false", "--output-dir", "out"]
    config = tiny_config(tmp_path, apprentice)
    done = azr("train", config, *words, cwd=tmp_path, env=os.environ | {"AZR_API_KEY": "sk-wrong"})
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "refuses the key in AZR_API_KEY (status 401)" in line
    assert "sk-wrong" not in line
    assert not (tmp_path / "out").exists()
