"""The preset `climb` on the model that ships: what it builds, and what it reports."""

import pytest

from tests.runs import azr, events, metrics

SMALL = "steps=3 selfplay.batch_size=12 selfplay.samples=2 evaluation.every=3 evaluation.tasks=3".split()


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("climb")
    done = azr("train", "climb", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.mark.slow
def test_new_tasks_are_built_on_those_of_the_buffer(climbed):
    made = [event["task"] for event in events(climbed) if event["event"] == "task"]
    by_id = {task["id"]: task for task in made}
    built = [task for task in made if task["depth"] > 0]
    assert len(built) > len(made) / 3
    for task in built:
        parents = [by_id[parent] for parent in task["parents"] if parent in by_id]
        assert all(task["data"]["program"].count("\n") > parent["data"]["program"].count("\n") for parent in parents)


@pytest.mark.slow
def test_held_out_accuracy_is_reported_by_number_of_statements(climbed):
    evaluations = [record["held_out"]["lengths"] for record in metrics(climbed) if "held_out" in record]
    assert [set(lengths) for lengths in evaluations] == [{"4", "6", "8", "12"}] * 2
