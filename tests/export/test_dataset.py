"""What a run's dataset holds: every task and rollout, the very prompts that were asked, and nothing held out."""

import json
import os

import pytest

from azr.domains.python.domain import PythonDomain
from azr.errors import UserError
from azr.export.rows import Rows, whole
from azr.run.log import Log
from azr.types import Task
from tests.played import Played, play
from tests.selfplay.test_selfplay import script


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("played"), script, 2)


def seeds(run):
    records = [json.loads(line) for line in (run.path / "seed.jsonl").read_text().splitlines()]
    names = Task.__dataclass_fields__
    return [Task(**{name: value for name, value in record.items() if name in names}) for record in records]


def rows_of(run, more=()):
    domain = PythonDomain(run.config.domain, run.config.sandbox)
    events = [event for _, event in Log(run.path / "events.jsonl").new()]
    return list(Rows(domain, run.config.seed, seeds(run)).steps([*events, *more]))


def test_every_rollout_of_a_step_has_its_row(played):
    run, records = played
    for rows, record in zip(rows_of(run)[1:], records, strict=True):
        tasks = {episode.id: episode.task.id if episode.task else None for episode in record.episodes}
        tasks |= {attempts.id: attempts.task.id for attempts in record.attempts()}
        assert rows.rollouts.keys() == {rollout.id for rollout in record.rollouts}
        for rollout in record.rollouts:
            row = rows.rollouts[rollout.id]
            assert (row["role"], row["kind"]) == rollout.cell
            assert (row["completion"], row["task"]) == (rollout.sample.text, tasks[rollout.group])
            assert (row["reward"], row["advantage"]) == (rollout.reward, 0.5)
            assert (row["score"], row["reason"]) == (rollout.verdict.score, rollout.verdict.reason)
            assert row["group"] == rollout.group


def test_prompts_are_those_that_the_model_was_asked(played):
    run, _ = played
    rows = [row for step in rows_of(run) for row in step.rollouts.values()]
    assert {row["group"]: row["prompt"] for row in rows} == run.prompts


def test_every_task_has_its_row_with_the_solve_rate_of_its_own_attempts(played):
    run, records = played
    for rows, record in zip(rows_of(run)[1:], records, strict=True):
        episodes = [episode for episode in record.episodes if episode.task is not None]
        assert [row["id"] for row in rows.tasks] == [episode.task.id for episode in episodes]
        for row, episode in zip(rows.tasks, episodes, strict=True):
            scores = episode.attempts.scores
            assert (row["attempts"], row["solve_rate"]) == (len(scores), sum(scores) / len(scores))
            assert tuple(row["parents"]) == episode.task.parents
            assert row["proposal"] == episode.id


def test_a_task_has_its_length_and_its_depth_if_that_was_recorded(played):
    run, _ = played
    log = [event for _, event in Log(run.path / "events.jsonl").new()]
    tasks = [event["task"] for event in log if event["event"] == "task"]
    tasks[0] |= {"depth": 2, "data": tasks[0]["data"] | {"program": "def f(x):\n    x = x + 1\n    return x"}}
    del tasks[1]["depth"]
    rows = Rows(PythonDomain(run.config.domain, run.config.sandbox), run.config.seed, seeds(run)).steps(log)
    found = {row["id"]: (row["length"], row["depth"]) for step in rows for row in step.tasks if row["proposal"]}
    assert [found[task["id"]] for task in tasks[:2]] == [(1, 2), (0, None)]


def test_tasks_that_the_run_began_with_come_first_and_no_task_of_seeding_twice(played):
    run, _ = played
    first = rows_of(run)[0]
    given = [row for row in first.tasks if row["proposal"] is None]
    assert [row["text"].splitlines()[0] for row in given] == ["def f(x):"] * 2  # the identity, for both buffers
    assert sorted(row["id"] for row in first.tasks if row["admitted"]) == sorted(task.id for task in seeds(run))


def test_answers_to_held_out_tasks_are_left_out(played):
    run, _ = played
    answer = {"event": "held_out", "step": 3, "task": "t", "kind": "deduction", "text": "secret", "score": 1.0}
    assert "secret" not in json.dumps([row for step in rows_of(run, [answer]) for row in step.rollouts.values()])


def test_an_event_of_a_later_version_does_no_harm(played):
    run, _ = played
    assert rows_of(run, [{"event": "mood", "colour": "blue"}]) == rows_of(run)


def test_an_event_that_somebody_spoilt_is_told(played):
    with pytest.raises(UserError, match=r"events were changed, or lack something: reward 2/x of step 2: KeyError"):
        rows_of(played[0], [{"event": "reward", "step": 2, "id": "2/x", "reward": 1.0}])


def test_a_line_that_is_still_being_written_does_no_harm(played, tmp_path):
    run, _ = played
    whole_rows = rows_of(run)
    path = run.path / "events.jsonl"
    length = path.stat().st_size
    with path.open("a") as file:
        file.write('{"event": "proposal", "step": 3, "id": "3/pro')
    assert rows_of(run) == whole_rows
    os.truncate(path, length)


def test_half_a_surrogate_pair_is_written_as_its_escape():
    assert whole("a\ud83d b") == "a\\ud83d b"
    assert whole("\U0001f600") == "\U0001f600"


@pytest.mark.slow
def test_a_run_without_anything_is_refused(tmp_path):
    from azr.export.dataset import export_dataset

    run = Played(tmp_path / "runs", None, script)
    with pytest.raises(UserError, match="nothing to export"):
        export_dataset(run.path, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


@pytest.mark.slow
def test_datasets_loads_what_was_written(played, tmp_path):
    import datasets

    from azr.export.dataset import export_dataset

    run, _ = played
    target = tmp_path / "dataset"
    sizes = export_dataset(run.path, target)
    assert sorted(datasets.get_dataset_config_names(str(target))) == ["rollouts", "tasks"]
    cache = str(tmp_path / "cache")
    loaded = {
        name: datasets.load_dataset(str(target), name, split="train", cache_dir=cache) for name in ("tasks", "rollouts")
    }
    assert {name: len(part) for name, part in loaded.items()} == sizes
    expected = [row for step in rows_of(run) for row in step.rollouts.values()]
    assert sorted(loaded["rollouts"].to_list(), key=lambda r: r["id"]) == sorted(expected, key=lambda r: r["id"])
    tasks = [row for step in rows_of(run) for row in step.tasks]
    assert [row["id"] for row in loaded["tasks"]] == [row["id"] for row in tasks]
    card = (target / "README.md").read_text()
    deductions = [row for row in tasks if row["kind"] == "deduction"]
    assert f"| deduction | {len(deductions)} |" in card
    assert "license:" not in card
