"""From marks to numbers: pass@k, intervals and paired differences."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from azr.analysis.statistics import pass_at_k
from azr.evals.results import MEAN, Scored, comparison, difference, score, summary, table


def scored(model: str, correct: list[int], *, samples: int = 1, groups: list[str] | None = None) -> Scored:
    ids = [str(number) for number in range(len(correct))]
    return Scored(model, "bench", ids, groups or [""] * len(correct), samples, correct, {})


@pytest.mark.parametrize(("samples", "correct", "k"), list(itertools.product([5], range(6), range(1, 6))))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(samples, correct, k):
    marks = [at < correct for at in range(samples)]
    subsets = list(itertools.combinations(marks, k))
    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("samples", "correct", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_is_not_defined_beyond_its_samples(samples, correct, k):
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(samples, correct, k)


def test_a_paired_difference_has_the_interval_of_an_independent_bootstrap():
    rng = np.random.default_rng(3)
    one, two = rng.integers(0, 5, 120), rng.integers(0, 5, 120)
    found = difference(scored("a", one.tolist(), samples=4), scored("b", two.tolist(), samples=4), 1)
    draws = np.random.default_rng(77).integers(120, size=(40_000, 120))
    expected = np.percentile(((two - one) / 4)[draws].mean(axis=1), [2.5, 97.5])
    assert found["value"] == pytest.approx((two - one).mean() / 4)
    assert found["interval"] == pytest.approx(tuple(expected), abs=0.25 / 120 * 2)  # two samples more or less


def test_pairing_narrows_the_interval_of_similar_models():
    marks = [1, 0] * 50
    better = [*marks]
    better[1] = 1
    low, high = difference(scored("a", marks), scored("b", better), 1)["interval"]
    assert 0 <= low <= high <= 0.04


def test_models_that_were_asked_different_problems_are_not_compared():
    with pytest.raises(ValueError, match="not asked the same problems"):
        difference(scored("a", [1]), scored("b", [1, 0]), 1)


def test_every_problem_counts_in_the_total_and_in_its_group():
    found = summary(scored("a", [1, 0, 1, 1], groups=["easy", "hard", "easy", "hard"]), [1])["parts"]
    assert {part: (of["problems"], of["pass"]["1"]["value"]) for part, of in found.items()} == {
        "all": (4, 0.75),
        "easy": (2, 1.0),
        "hard": (2, 0.5),
    }


def test_all_kinds_have_equal_weight_in_their_mean():
    def one(name: str, correct: list[int]) -> Scored:
        kinds = ["deduction"] * 2 + ["induction"] * 6
        return replace(scored(name, correct, groups=kinds), baselines={"random guess": {MEAN: 0.25}})

    base, trained = one("base", [1, 0, 1, 1, 1, 0, 0, 0]), one("trained", [1, 1, 1, 1, 1, 0, 0, 0])
    found = summary(trained, [1])["parts"]["mean of kinds"]
    assert found["pass"]["1"]["value"] == pytest.approx((2 / 2 + 3 / 6) / 2)
    assert found["random guess"] == 0.25
    assert difference(base, trained, 1, MEAN)["value"] == pytest.approx((2 / 2 + 3 / 6) / 2 - (1 / 2 + 3 / 6) / 2)
    low, high = found["pass"]["1"]["interval"]
    # the certain kind adds no width, the other one half of its own: 1.96 * sqrt(1/4 / 6) / 2 = 0.2
    assert (low, high) == pytest.approx((0.55, 0.95), abs=0.05)


def test_a_problem_without_room_for_a_completion_counts_as_wrong():
    sample = {"score": 0.0, "reason": "prompt_too_long"}
    records = [
        {"id": "1", "group": "", "samples": [sample]},
        {"id": "2", "group": "", "samples": [{"score": 1.0, "reason": "correct"}]},
    ]
    found = score("a", "bench", records)
    assert found.correct == [0, 1]
    assert dict(found.reasons) == {"prompt_too_long": 1, "correct": 1}


def test_only_models_are_compared_and_with_the_first():
    results = [scored("a", [1, 0]), scored("b", [1, 1]), scored("gold", [1, 1])]
    assert [(line["from"], line["to"]) for line in comparison(results, [1], ["a", "b"])] == [("a", "b")]


def test_the_table_shows_models_side_by_side():
    console = Console(width=120, record=True, file=io.StringIO())
    results = [scored("base", [1, 0]), scored("trained", [1, 1])]
    console.print(table([summary(of, [1]) for of in results], comparison(results, [1], ["base", "trained"])))
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["benchmark", "problems", "base", "trained"]
    assert lines[1].split() == ["bench", "2", "pass@1", "50.0%", "100.0%"]
    assert "+50.0 points (+0.0 to +100.0)" in lines[3]
