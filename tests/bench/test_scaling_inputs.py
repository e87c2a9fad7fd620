"""What is read from a run, and what is fitted to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scaling_events import simulate
from scaling_inputs import Measured, Step, assumed, layout, measured, speed, workload
from scaling_model import Cluster
from scaling_sim import check, fastest, layouts, sweep, table

from tests.runs import azr, only_run, tiny_config

CONFIG = {
    "selfplay": {"batch_size": 2, "samples": 2, "learn_from_samples": True},
    "learner": {"minibatches": 2, "epochs": 1, "token_budget": 512},
    "generation": {"max_rows": 4},
    "domain": {"kinds": ["deduction", "abduction"]},
    "sandbox": {},
}


def step(*proposals: int, attempts: tuple[int, ...], base: float = 0.02, row: float = 0.003) -> Step:
    """A step that took exactly what the model says: `base` per iteration, `row` per token, and so on."""
    made = Step({}, learnt=sum(proposals) + sum(attempts), valid=len(proposals))
    made.proposals, made.first = list(proposals), list(attempts)
    decoding = base * made.iterations(4) + row * made.sampled
    made.seconds |= {"propose": decoding / 4, "solve": 3 * decoding / 4, "learn": 2 * 0.5 + 0.01 * made.learnt}
    made.seconds |= {"validate": 0.1 * len(proposals) / 2, "verify": 0.04 * len(attempts) / 2}
    return made


@pytest.fixture(scope="module")
def run(apprentice, tmp_path_factory) -> Path:
    """Three real steps of a small model."""
    folder = tmp_path_factory.mktemp("runs")
    done = azr("train", tiny_config(folder, apprentice), "--output-dir", folder / "runs", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "runs")


def test_the_speed_is_found_again():
    made = [step(5, 9, 30, 2, attempts=(4, 8, 60, 1)), step(50, 9, 3, 2, attempts=(70, 8, 6, 1, 1, 1))]
    found = speed([Measured(CONFIG, made)], workers=2)
    expected = (0.02, 0.003, 0.01, 0.5, 0.1, 0.04)
    got = (found.decode_base, found.decode_row, found.learn_token, found.update, found.validate, found.verify)
    assert got == pytest.approx(expected)


def test_iterations_count_rows_that_wait():
    one = Step({}, proposals=[10, 4, 4, 4])
    assert one.iterations(4) == 10
    assert one.iterations(2) == 12  # 10 beside 4, 4, 4
    assert one.iterations(1) == 22


def test_steps_that_say_nothing_of_rows_give_no_negative_time():
    made = [step(5, attempts=(5,), base=0.0, row=0.1), step(50, attempts=(60,), base=0.0, row=0.2)]
    found = speed([Measured(CONFIG, made)], workers=1)
    assert min(found.decode_base, found.decode_row, found.learn_token, found.update) >= 0


def test_a_real_run_is_read_whole(run):
    found = measured(run, skip=0)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for one, line in zip(found.steps, [line for line in logged if "roles" in line], strict=True):
        roles = line["roles"]
        assert len(one.proposals) == roles["propose"]["rollouts"]
        assert len(one.first) + len(one.later) == roles["solve"]["rollouts"]
        assert sum(one.proposals) == pytest.approx(roles["propose"]["rollouts"] * roles["propose"]["tokens"])
        assert one.learnt == one.sampled


def test_a_real_runs_load_has_its_rollouts(run):
    found = measured(run, skip=0)
    result = simulate(workload(found), speed([found], 2), Cluster(), steps=3)
    assert result.rollouts == sum(len(one.proposals) + len(one.first) + len(one.later) for one in found.steps)


def test_a_run_without_steps_is_refused_in_one_line(run):
    with pytest.raises(SystemExit, match="lower --skip"):
        measured(run, skip=3)


def test_the_check_compares_the_prediction_with_the_runs_steps(run):
    said = check(run, [], Cluster(workers=2), skip=1)
    assert said.startswith(f"{run.name}: 1 learning, 1 generating; predicted ")
    assert "(median of 2, " in said


@pytest.mark.parametrize(
    ("learner", "generation", "expected"),
    [
        ({}, {}, (1, 1, True, "none")),
        ({"processes": 3, "sharding": "replicated"}, {}, (3, 3, True, "none")),
        ({"processes": 3, "sharding": "sharded"}, {}, (1, 3, True, "none")),
        ({"processes": 2}, {"urls": "http://a:8000,http://b:8000,http://c:8000"}, (3, 2, False, "nccl")),
    ],
)
def test_a_run_is_laid_out_as_it_is_configured(learner, generation, expected):
    config = CONFIG | {"learner": learner, "generation": {"max_rows": 4} | generation}
    place = layout(config, Cluster())
    assert (place.generators, place.learners, place.colocated, place.sync) == expected


def test_every_layout_uses_all_gpus():
    for gpus in (1, 2, 3, 8, 100):
        assert {way.gpus for way in layouts(gpus, Cluster())} == {gpus}


def test_a_card_without_bfloat16_is_refused():
    with pytest.raises(SystemExit, match="t4-16gb"):
        assumed("t4-16gb")


@pytest.mark.slow
def test_a_row_says_what_each_cost_adds():
    load, one = assumed("h100-80gb")
    (row,) = sweep([4], load, one, Cluster(), steps=3)
    assert set(row.gains) == {"sandbox", "weights", "stragglers"}
    assert row.result.step == pytest.approx(fastest(4, load, one, Cluster(), 3)[1].step)
    header, _, line = table([row])
    assert header.count("|") == line.count("|")
