"""lm-eval's samples become records of the harness; on a small task that needs no download."""

from __future__ import annotations

import json
import os
import shutil
from importlib import resources
from pathlib import Path

import pytest

from azr.errors import UserError
from azr.evals import math
from azr.evals.harness import Settings
from azr.evals.results import score
from tests.runs import azr

pytest.importorskip("lm_eval")

TASK = """
task: azr_tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
process_results: !function utils.process_results
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
generation_kwargs: {{until: ["Question:"], do_sample: false}}
num_fewshot: 0
metadata: {{version: 1.0}}
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow  # importing lm-eval alone takes ten seconds
def test_samples_become_records_and_scores(apprentice, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(3)))
    (tmp_path / "tiny.yaml").write_text(TASK.format(data=data))
    shutil.copy(Path(str(resources.files("azr.evals.math"))) / "utils.py", tmp_path)
    records = math.run(str(apprentice), "azr_tiny", Settings(max_tokens=8), device="cpu", include=tmp_path)
    assert [record["id"] for record in records] == ["0", "1", "2"]
    assert records[1]["prompt"] == "Question: 1 + 1?\nAnswer:"
    assert [type(record["samples"][0]["completion"]) for record in records] == [str, str, str]
    found = score("model", "tiny", records)
    assert sum(found.reasons.values()) == 3
    assert found.reasons["correct"] == sum(found.correct)


@pytest.mark.parametrize(
    ("doc", "completion", "right"),
    [
        ({"answer": "42"}, "so it is \\boxed{42}.", 1),
        ({"answer": "42"}, "$42$", 1),
        ({"answer": "42"}, "\\boxed{41}", 0),
        ({"final_answer": ["$2$", "$\\frac{1}{2}$"]}, "\\boxed{\\frac12}", 1),
        ({"final_answer": ["2", "3"]}, "\\boxed{4}", 0),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_any_published_answer_is_right(doc, completion, right):
    from azr.evals.math.utils import process_results

    assert process_results(doc, [completion]) == {"exact_match": right}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_every_task_is_known_to_lm_eval():
    _, manager = math._lm_eval(None)
    assert set(math.TASKS.values()) <= set(manager.all_tasks)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_unknown_task_is_refused(apprentice):
    with pytest.raises(UserError, match="lm-eval has no task nothing"):
        math.run(str(apprentice), "nothing", Settings(), device="cpu")


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_reported_in_one_line(apprentice, tmp_path):
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = azr("eval", apprentice, "--bench", "amc23", "--max-tokens", 8, cwd=tmp_path, env=env, fresh=True)
    assert done.returncode == 2, done.stderr
    assert "lm-eval reads its data from the hub" in done.stderr.strip().splitlines()[-1]
