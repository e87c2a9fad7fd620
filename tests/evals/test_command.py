"""`azr eval` from end to end: models side by side, gold answers, resuming, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from azr.evals.variants import VARIANTS
from tests.evals.samples import write_files
from tests.runs import azr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    path = tmp_path_factory.mktemp("held") / "held.jsonl"
    tasks = [
        {"kind": kind, "data": {"program": f"def f(a):\n    return a + {n}", "input": "1", "output": str(n + 1)}}
        for kind in ("deduction", "abduction")
        for n in range(2, 8)
    ]
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return path


@pytest.fixture(scope="module")
def compared(apprentice, held_out, data, tmp_path_factory):
    """Results of two models with the same architecture and other weights, on a held-out set and on CRUXEval."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(apprentice, folder / "other")
    model = AutoModelForCausalLM.from_pretrained(folder / "other")
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(torch.randn_like(model.get_output_embeddings().weight))
    model.save_pretrained(folder / "other")
    words = [apprentice, "other", "--bench", f"python:{held_out},cruxeval-o", "--data", data, "--max-tokens", 60]
    done = azr("eval", *words, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, words, done.stdout


def results(folder: Path):
    return json.loads((folder / "out" / "results.json").read_text())


def completions(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "out" / "completions").rglob("*.jsonl"))
    }


def test_every_model_is_measured_on_every_benchmark(compared, apprentice, held_out):
    found = [(result["model"], result["benchmark"]) for result in results(compared[0])["results"]]
    assert found == [
        (model, bench) for model in (str(apprentice), "other") for bench in (f"python:{held_out}", "cruxeval-o")
    ]


def test_a_self_play_set_is_counted_by_kind_beside_guess_and_constant(compared):
    parts = results(compared[0])["results"][0]["parts"]
    assert {"all", "deduction", "abduction", "mean of kinds"} == set(parts)
    assert parts["deduction"]["problems"] == 6
    assert parts["deduction"]["best constant"] == pytest.approx(1 / 6)
    assert 0 <= parts["abduction"]["random guess"] <= 1
    for words in ("random guess", "best constant", "95 % interval", "difference"):
        assert words in compared[2]


def test_a_trained_model_scores_above_random_weights_and_the_difference_is_reported(compared):
    (line,) = [
        line
        for line in results(compared[0])["differences"]
        if line["part"] == "all" and line["benchmark"].startswith("python")
    ]
    first, second = (
        result["parts"]["all"]["pass"]["1"]["value"]
        for result in results(compared[0])["results"]
        if result["benchmark"].startswith("python")
    )
    assert first > second
    assert line["difference"]["1"]["value"] == pytest.approx(second - first)


def test_everything_that_decides_a_score_is_recorded_with_the_completions(compared):
    for content in completions(compared[0]).values():
        header = json.loads(content.splitlines()[0])
        assert {"harness", "azr", "template", "temperature", "samples", "seed", "seconds", "model"} <= set(header)


def test_every_completion_is_kept_with_its_prompt_and_its_verdict(compared):
    for content in completions(compared[0]).values():
        for line in content.splitlines()[1:]:
            record = json.loads(line)
            assert record["prompt"]
            assert {"completion", "score", "reason"} <= set(record["samples"][0])


def test_numbers_can_be_recomputed_from_the_completions(compared):
    for result, content in zip(results(compared[0])["results"], _by_result(compared[0]), strict=True):
        records = [json.loads(line) for line in content.splitlines()[1:]]
        share = sum(record["samples"][0]["score"] for record in records) / len(records)
        assert result["parts"]["all"]["pass"]["1"]["value"] == pytest.approx(share)


def _by_result(folder: Path) -> list[bytes]:
    found = completions(folder)
    names = [result["benchmark"] for result in results(folder)["results"]]
    models = [result["model"] for result in results(folder)["results"]]
    chosen = []
    for model, name in zip(models, names, strict=True):
        stem = "cruxeval-o" if name == "cruxeval-o" else "python_"
        (path,) = [
            p for p in found if (p.split("/")[2] == "other") == (model == "other") and Path(p).name.startswith(stem)
        ]
        chosen.append(found[path])
    return chosen


@pytest.mark.slow
def test_an_interrupted_call_resumes_to_the_same_bytes(compared):
    folder, words, _ = compared
    before, table = completions(folder), results(folder)
    for name, content in before.items():
        (folder / name).write_bytes(content[: len(content) * 2 // 3])
    done = azr("eval", *words, "--out", "out", cwd=folder, fresh=True)
    assert done.returncode == 0, done.stderr
    assert completions(folder) == before
    assert results(folder) == table


@pytest.mark.slow
def test_completions_made_with_other_settings_are_not_mixed(compared):
    folder, words, _ = compared
    done = azr("eval", *words, "--out", "out", "--seconds", "3", cwd=folder)
    assert done.returncode == 2
    assert "made with seconds = 10.0, now it is 3.0; choose another --out" in done.stderr


@pytest.mark.slow
def test_samples_give_pass_at_k(apprentice, held_out, tmp_path):
    words = ["--bench", f"python:{held_out}", "--limit", 2, "--samples", 4, "--k", "1,2,4", "--temperature", 1.0]
    done = azr("eval", apprentice, *words, "--max-tokens", 40, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    passes = results(tmp_path)["results"][0]["parts"]["all"]["pass"]
    assert passes["1"]["value"] <= passes["2"]["value"] <= passes["4"]["value"]
    assert all(low <= high for low, high in (value["interval"] for value in passes.values()))


@pytest.mark.slow
def test_a_run_directory_names_its_model_and_gets_the_results(apprentice, data, tmp_path):
    run = tmp_path / "run"
    (run / "model").parent.mkdir()
    shutil.copytree(apprentice, run / "model")
    (run / "config.toml").write_text("")
    done = azr("eval", "run", "--bench", "cruxeval-o", "--data", data, "--max-tokens", 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header = json.loads((run / "evals/completions/run/cruxeval-o.jsonl").read_text().splitlines()[0])
    assert header["model"].startswith(str(run / "model"))


@pytest.mark.parametrize("template", ["complete", "chat"])
def test_gold_answers_score_everything_and_broken_ones_nothing_on_self_play_sets(template, tmp_path):
    words = ["--gold", "--broken", "all", "--bench", "nursery-iid,primes", "--limit", 6, "--template", template]
    done = azr("eval", *words, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {(of["model"], of["benchmark"]): sum(of["correct"].values()) for of in results(tmp_path)["results"]}
    names = ("nursery-iid", "primes")
    assert found == {(who, name): 18 if who == "gold" else 0 for name in names for who in ("gold", *VARIANTS)}


def test_a_broken_answer_that_scores_is_an_error(tmp_path):
    anything = {"program": "def f(*a, **k):\n    return 1", "input": "1", "output": "1"}
    (tmp_path / "any.jsonl").write_text(json.dumps({"kind": "abduction", "data": anything}) + "\n")
    done = azr("eval", "--broken", "empty,constant", "--bench", "python:any.jsonl", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "azr: error: broken answers scored: constant on python:any.jsonl (1 of 1 problems)" in done.stderr
    assert [sum(result["correct"].values()) for result in results(tmp_path)["results"]] == [0, 1]
