"""What a run has written, as frames: what is in them, and what is said where there is no run or a damaged one."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import azr
from azr.errors import UserError
from azr.export.rows import ROLLOUTS, TASKS
from azr.frames.tables import BENCHMARKS, DTYPES, EVALUATIONS
from tests.played import play
from tests.runs import events
from tests.selfplay.test_selfplay import script

HELD_OUT = {
    "mean": {"accuracy": 0.5, "interval": [0.25, 0.75]},
    "kinds": {"deduction": {"accuracy": 0.5, "interval": [0.2, 0.8], "tasks": 10}},
    "marks": {"deduction": [0, 1]},
    "guess": 0.125,
}
GAIN = {"gain": {"accuracy": 0.25, "interval": [0.125, 0.375]}}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    run, records = play(tmp_path_factory.mktemp("played"), script, 2)
    with (run.path / "metrics.jsonl").open("a") as file:
        for line in ({"step": 0, "held_out": HELD_OUT}, {"step": 2, "held_out": HELD_OUT | GAIN}):
            file.write(json.dumps(line) + "\n")
    return run.path, records


@pytest.fixture
def copied(played, tmp_path):
    return shutil.copytree(played[0], tmp_path / "runs" / "demo-20260101-000000")


def types_of(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def declared(columns):
    return {name: DTYPES.get(column.type, "object") for name, column in columns.items()}


def test_metrics_have_a_row_for_each_step_with_the_numbers_by_path(played):
    path, _ = played
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "kinds" in line]
    frame = azr.Run(path).metrics
    assert frame["step"].tolist() == [1, 2]
    assert frame["kinds/deduction/valid"].tolist() == [line["kinds"]["deduction"]["valid"] for line in steps]
    assert frame["roles/solve/reward"].tolist() == [line["roles"]["solve"]["reward"] for line in steps]
    accepted = [line["kinds"]["deduction"]["proposals"].get("accepted", 0) for line in steps]
    assert frame["kinds/deduction/proposals/accepted"].tolist() == accepted
    assert frame["alarms"].tolist() == ["; ".join(line["alarms"]) for line in steps]


def test_every_column_of_the_metrics_has_a_type(played):
    assert set(types_of(azr.Run(played[0]).metrics).values()) <= {"Int64", "float64", "string"}


def test_evaluations_have_a_row_for_the_mean_and_for_each_kind(played):
    frame = azr.Run(played[0]).evaluations
    assert types_of(frame) == declared(EVALUATIONS)
    assert frame[["step", "kind"]].values.tolist() == [[0, "mean"], [0, "deduction"], [2, "mean"], [2, "deduction"]]
    mean = frame[(frame["kind"] == "mean") & (frame["step"] == 2)].iloc[0]
    assert mean[["accuracy", "low", "high", "tasks", "guess"]].tolist() == [0.5, 0.25, 0.75, 10, 0.125]
    assert mean[["gain", "gain_low", "gain_high"]].tolist() == [0.25, 0.125, 0.375]
    assert frame["gain"].isna().tolist() == [True, True, False, True]


def test_tasks_and_rollouts_are_those_of_the_events(played):
    path, _ = played
    run, written = azr.Run(path), events(path)
    counts = Counter(event["event"] for event in written)
    assert types_of(run.tasks) == declared(TASKS)
    assert types_of(run.rollouts) == declared(ROLLOUTS)
    assert (run.tasks["proposal"].notna()).sum() == counts["task"]
    assert Counter(run.rollouts["role"]) == {"propose": counts["proposal"], "solve": counts["attempt"]}
    rewards = {event["id"]: event["reward"] for event in written if event["event"] == "reward"}
    assert run.rollouts.set_index("id")["reward"].dropna().to_dict() == rewards


def test_a_run_that_has_only_begun_has_empty_frames_with_the_same_columns(copied):
    for name in ("events.jsonl", "metrics.jsonl"):
        (copied / name).unlink()
    run = azr.Run(copied)
    assert (len(run.metrics), len(run.evaluations), len(run.rollouts)) == (0, 0, 0)
    assert types_of(run.evaluations) == declared(EVALUATIONS)
    assert types_of(run.rollouts) == declared(ROLLOUTS)
    assert types_of(run.benchmarks) == declared(BENCHMARKS)


def test_a_line_that_is_still_being_written_is_left_out(copied):
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "kinds": {"ded')
    assert azr.Run(copied).metrics["step"].tolist() == [1, 2]


def test_a_damaged_line_is_named_as_on_the_command_line(copied):
    path = copied / "metrics.jsonl"
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(UserError, match=r"metrics.jsonl: line 1 cannot be read .* it was changed, restore it"):
        azr.Run(copied).metrics


def test_a_run_is_named_by_latest_or_by_the_beginning_of_its_name(copied, monkeypatch):
    monkeypatch.chdir(copied.parents[1])
    assert azr.Run().path.resolve() == copied
    assert azr.Run("latest").path.resolve() == copied
    assert azr.Run("demo-2026").path.resolve() == copied


def test_a_folder_that_is_no_run_is_refused_as_on_the_command_line(tmp_path):
    with pytest.raises(UserError, match=r"no config.toml there, so it is not a run"):
        azr.Run(tmp_path)


def test_results_of_azr_eval_have_a_row_for_each_part_and_k(copied):
    result = {
        "model": "two",
        "benchmark": "python",
        "parts": {"all": {"problems": 4, "pass": {"1": {"value": 0.5, "interval": [0.25, 0.75]}}}},
    }
    gain = {"1": {"value": 0.25, "interval": [0.0, 0.5]}}
    differences = [{"benchmark": "python", "from": "one", "to": "two", "part": "all", "difference": gain}]
    (copied / "evals").mkdir()
    results = {"settings": {}, "results": [result | {"model": "one"}, result], "differences": differences}
    (copied / "evals" / "results.json").write_text(json.dumps(results))
    first, second = azr.Run(copied).benchmarks.to_dict("records")
    assert second == {
        "model": "two",
        "benchmark": "python",
        "part": "all",
        "problems": 4,
        "k": 1,
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "gain": 0.25,
        "gain_low": 0.0,
        "gain_high": 0.5,
    }
    assert (first["model"], first["gain"] == first["gain"]) == ("one", False)
    (copied / "evals" / "results.json").write_text("[]")
    with pytest.raises(UserError, match=r"results.json: cannot be read"):
        azr.Run(copied).benchmarks


def test_without_pandas_the_extra_is_named(played, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"pip install 'azr\[frames\]'"):
        azr.Run(played[0]).metrics


@pytest.mark.parametrize("columns", [EVALUATIONS, TASKS, ROLLOUTS, BENCHMARKS])
def test_every_column_is_documented(columns):
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    rows = [f"| `{name}` | {DTYPES.get(of.type, 'list')} | {of.meaning} |" for name, of in columns.items()]
    assert "\n".join(rows) in page


def test_importing_azr_imports_no_library():
    heavy = "print(sorted({'torch', 'pandas', 'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, azr; {heavy}"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"
