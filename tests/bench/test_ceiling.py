"""The oracle gate, on a tiny model."""

import random

import ceiling
import pytest
import torch

from nursery.build import save
from nursery.steps.documents import deduction_task, gold_attempt
from nursery.steps.language import join_lines
from nursery.steps.tokenizer import build_tokenizer
from nursery.steps.train import new_model
from nursery.train import Shape

GOLD = gold_attempt(deduction_task(join_lines(["a = min(a + b, 9)", "b = 9 - b"]), (1, 2, 3)))


@pytest.mark.slow
def test_the_gate_measures_a_tiny_model_and_leaves_it_as_it_was(tmp_path):
    tokenizer = build_tokenizer()
    model = new_model(Shape(hidden=16, layers=2, heads=2, feed_forward=16), tokenizer)
    save(model, tokenizer, {}, tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--sets", "nursery-steps-3", "--tasks", "2", "--samples", "4"]
    words += ["--sampled", "2", "--gold", "6000", "--out", str(tmp_path / "rows.json")]
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda count: None)
        measured, lifted = ceiling.asyncio.run(ceiling.run(ceiling.parse(words)))
    assert (tmp_path / "rows.json").is_file()
    assert measured["ceiling"] == max(
        measured[way]["accuracy"] for way in ("free", "thinks", "majority of 4")
    )  # all tasks are sampled
    assert set(measured["pass@k"]) == {"1", "2", "4"}
    assert measured["lines"][0] == {"line": 1, "reached": 2, "wrong": 2, "rate": 100.0}
    assert lifted["gold tokens"] == 6000
    assert lifted["tokens"] > 3000
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_quick_asks_for_less_and_what_is_named_counts():
    asked = ceiling.parse(["--quick", "--samples", "8"])
    assert (asked.tasks, asked.samples, asked.sampled, asked.gold) == (60, 8, 20, [200_000])


def test_only_the_first_wrong_line_counts():
    lines = GOLD.split("\n")
    wrong = "\n".join([*lines[:2], "x", "y"])
    assert [line["wrong"] for line in ceiling.line_errors([GOLD, GOLD], [GOLD, wrong])] == [0, 1, 0, 0]
    assert [line["reached"] for line in ceiling.line_errors([GOLD, GOLD], [GOLD, wrong])] == [2, 2, 1, 1]


def test_a_missing_line_is_wrong():
    short = GOLD.rpartition("\n")[0]
    assert ceiling.line_errors([GOLD], [short])[-1]["wrong"] == 1


def test_the_most_frequent_answer_decides():
    right, wrong = (ceiling.Attempt(f"<answer>{text}</answer>", text == "1") for text in "12")
    assert ceiling.majority([wrong, right, right])
    assert not ceiling.majority([right, wrong, wrong])
    assert not ceiling.majority([ceiling.Attempt("no answer", False)])


@pytest.mark.parametrize("name", ["nursery", "nursery-steps"])
def test_gold_attempts_are_right_and_documents_differ_in_length(name):
    language = ceiling.LANGUAGES[name]
    tasks = ceiling.load_held_out(language.sets[0], ("deduction",), 5)
    assert all(language.gold(task).endswith(f"<answer>{task.data['output']}</answer>") for task in tasks)
    long, short = (next(language.documents(longer, random.Random(0)))[0][0] for longer in (True, False))
    assert long.count("\n") > short.count("\n")
