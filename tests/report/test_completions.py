"""Evaluations in the report: the table as it was written, and every completion."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest

from azr.errors import UserError
from azr.report.build import report
from azr.report.completions import evaluation_data
from tests.report.logs import line, write_run
from tests.report.test_build import data_of


def write_evaluation(folder: Path, *, problems: int = 3, models=("base", "trained")) -> Path:
    """An evaluation of two models on one benchmark; the second is right on all."""
    result = {"benchmark": "sums", "samples": 2, "reasons": {}, "correct": {}}
    share = {"problems": problems, "pass": {"1": {"value": 0.5, "interval": [0.2, 0.8]}}}
    results = [result | {"model": model, "parts": {"all": share}} for model in models]
    gain = {"1": {"value": 0.5, "interval": [0.1, 0.9]}}
    differences = [{"benchmark": "sums", "from": models[0], "to": models[-1], "part": "all", "difference": gain}]
    for number, model in enumerate(models):
        (folder / "completions" / model).mkdir(parents=True)
        lines = [{"benchmark": "sums", "model": model, "samples": 2, "harness": 1}]
        for at in range(problems):
            samples = [completion(f"{model} {at} {sample}", right=number == 1 or sample == 1) for sample in range(2)]
            lines.append({"id": f"sums/{at}", "group": "easy", "prompt": f"{at} + {at} = ", "samples": samples})
        (folder / "completions" / model / "sums.jsonl").write_text("".join(map(line, lines)))
    record = {"settings": {"template": "complete", "samples": 2}, "results": results, "differences": differences}
    (folder / "results.json").write_text(json.dumps(record))
    return folder


def completion(text: str, *, right: bool):
    about = {"completion": text, "tokens": 4, "finished": True, "score": float(right)}
    return about | {"reason": "correct" if right else "wrong", "detail": "" if right else "got 3"}


def opened(block: str):
    return json.loads(zlib.decompress(base64.b64decode(block)))


def test_every_completion_is_there_with_its_prompt_and_verdict(tmp_path):
    base, trained = evaluation_data(write_evaluation(tmp_path), 10**6)["files"]
    assert (base["model"], base["benchmark"]) == ("base", "sums")
    assert base["problems"][1] == ("sums/1", "easy", [(0.0, "wrong", 4, True), (1.0, "correct", 4, True)])
    assert opened(trained["blocks"][0])[2] == ["2 + 2 = ", [["trained 2 0", ""], ["trained 2 1", ""]]]


def test_a_truncated_last_line_is_left_out(tmp_path):
    folder = write_evaluation(tmp_path)
    path = folder / "completions" / "base" / "sums.jsonl"
    path.write_text(path.read_text()[:-20])
    base, trained = evaluation_data(folder, 10**6)["files"]
    assert (len(base["problems"]), len(trained["problems"])) == (2, 3)


def test_texts_beyond_the_budget_are_left_out_and_counted(tmp_path):
    found = evaluation_data(write_evaluation(tmp_path, problems=200), 1200)
    kept = [block for file in found["files"] for block in file["blocks"] if block]
    assert sum(map(len, kept)) <= 1200
    assert found["notes"] == [f"{10 - len(kept)} blocks of 40 completions are left out, to keep the page small"]


def test_a_run_brings_its_evaluation_along(tmp_path):
    run = write_run(tmp_path / "run", steps=1)
    write_evaluation(run / "evals")
    found = data_of(report([run]).read_text())
    assert [evaluation["name"] for evaluation in found["evals"]] == ["run/evals"]


def test_an_evaluation_alone_makes_a_page(tmp_path):
    folder = write_evaluation(tmp_path / "measured")
    found = data_of(report([folder]).read_text())
    assert (found["runs"], found["evals"][0]["name"]) == ([], "measured")


def test_results_of_something_else_are_refused(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"results.json: not the results of azr eval"):
        report([tmp_path])
