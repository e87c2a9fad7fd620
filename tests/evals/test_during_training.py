"""What a run logs about its held-out set while it trains."""

from __future__ import annotations

import json

import pytest

from tests.runs import azr, events, metrics, only_run, tiny_config


@pytest.mark.slow
def test_every_evaluation_is_logged_by_length_against_the_untrained_model_and_a_guess(apprentice, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    tasks = [
        {"kind": "deduction", "data": {"program": program.format(n), "input": "1", "output": str(n + 1)}}
        for n in range(2, 8, 2)
        for program in ("def f(a):\n    return a + {}", "def f(a):\n    a += {}\n    return a")
    ]
    held_out.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    words = ["evaluation.tasks=6", "evaluation.every=1", f"domain.held_out={held_out}", "--output-dir", "out"]
    done = azr("train", tiny_config(tmp_path, apprentice, steps=2), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "out")
    found = {line["step"]: line["held_out"] for line in metrics(run) if "held_out" in line}
    assert list(found) == [0, 1, 2]
    assert {name: of["tasks"] for name, of in found[2]["lengths"].items()} == {"0": 3, "1": 3}
    assert [event["length"] for event in events(run) if event["event"] == "held_out"] == [0, 1, 0, 1, 0, 1] * 3
    for step in (1, 2):
        rise = found[step]["mean"]["accuracy"] - found[0]["mean"]["accuracy"]
        assert found[step]["gain"]["accuracy"] == pytest.approx(rise)
        assert found[step]["gain"]["interval"][0] <= rise <= found[step]["gain"]["interval"][1]
        assert found[step]["guess"] == found[0]["guess"]
    assert done.stdout.count("on the untrained model, a random guess") == 2
