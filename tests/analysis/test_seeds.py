"""Settings over seeds, against numbers computed by hand."""

from __future__ import annotations

import pytest

from azr.analysis.seeds import POINTS, curves, guess, table


def records(first: float, last: float, *, steps: int = 2, valid: float | None = 0.5) -> list[dict]:
    """Lines of metrics.jsonl of a run with two evaluations."""

    def held_out(step: int, accuracy: float) -> dict:
        mean = {"accuracy": accuracy}
        return {"step": step, "held_out": {"mean": mean, "kinds": {"deduction": mean}, "guess": 0.125}}

    kinds = {"deduction": {"valid": valid, "solve_rate": 0.25, "learnability": None}}
    played = [{"step": step, "kinds": kinds} for step in range(1, steps + 1)]
    return [held_out(0, first), *played, held_out(steps, last)]


RUNS = {
    "a": {0: records(0.2, 0.3), 1: records(0.2, 0.5), 2: records(0.2, 0.7)},
    "b": {1: records(0.2, 0.6), 2: records(0.2, 0.9), 7: records(0.2, 0.2)},
    "c": {5: records(0.2, 0.4)},
    "d": {},
}


def test_the_gain_of_a_setting_is_the_mean_over_runs_with_students_interval():
    # gains 0.1, 0.3, 0.5: mean 0.3, standard deviation 0.2, half the width 4.3027 * 0.2 / sqrt(3) = 0.49683
    row = table(RUNS)[0]
    assert (row["setting"], row["runs"], row["before"]) == ("a", 3, pytest.approx(0.2))
    assert row["gain"] == {"mean": pytest.approx(0.3), "interval": pytest.approx((-0.19683, 0.79683), abs=1e-5)}
    assert row["after"]["mean"] == pytest.approx(0.5)
    assert row["kinds"] == {"deduction": pytest.approx(0.5)}
    assert row["difference"] is None


def test_settings_are_compared_with_the_first_by_seed():
    # seed 1: 0.4 - 0.3, seed 2: 0.7 - 0.5; mean 0.15, standard deviation 0.070711, half 12.7062 * 0.05 = 0.63531
    found = table(RUNS)[1]["difference"]
    assert found == {"mean": pytest.approx(0.15), "interval": pytest.approx((-0.48531, 0.78531), abs=1e-5), "pairs": 2}


def test_a_setting_without_a_common_seed_is_not_compared_and_one_run_has_no_interval():
    row = table(RUNS)[2]
    assert row["difference"] is None
    assert row["gain"] == {"mean": pytest.approx(0.2), "interval": None}


def test_settings_without_a_run_are_left_out():
    assert [row["setting"] for row in table(RUNS)] == ["a", "b", "c"]


def test_a_curve_has_the_mean_over_runs_and_its_interval_within_0_and_1():
    held_out, valid, solve_rate = curves(RUNS)
    assert [figure["title"] for figure in (valid, solve_rate)] == ["Valid proposals", "Solve rate in training"]
    last = held_out["rows"][1]
    assert (last["step"], last["series"], last["value"], last["band"]) == (2, "a", pytest.approx(0.5), True)
    assert last["low"] == pytest.approx(0.5 - 0.49683, abs=1e-5)
    assert last["high"] == pytest.approx(0.5 + 0.49683, abs=1e-5)
    (alone,) = [row for row in held_out["rows"] if row["series"] == "c" and row["step"] == 2]
    assert (alone["low"], alone["high"], alone["band"]) == (0.4, 0.4, False)
    (wide,) = [row for row in held_out["rows"] if row["series"] == "b" and row["step"] == 2]
    assert (wide["low"], wide["high"]) == (0.0, 1.0)


def test_long_curves_are_means_of_neighbouring_steps():
    runs = {"a": {0: records(0.0, 1.0, steps=3 * POINTS)}}
    (valid,) = [figure for figure in curves(runs) if figure["id"] == "sweep-valid"]
    assert [row["step"] for row in valid["rows"]] == list(range(3, 3 * POINTS + 1, 3))
    assert {row["value"] for row in valid["rows"]} == {0.5}


def test_the_random_guess_is_that_of_a_run():
    assert guess(RUNS) == 0.125
    assert guess({"a": {}}) is None
