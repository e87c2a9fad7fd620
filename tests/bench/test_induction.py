"""The oracle gate for abduction and induction, on the model that ships."""

import itertools
import json
import random

import induction
import pytest
import torch

from azr.domains.python.syntax import read
from nursery.heldout import excluded_forms

pytestmark = pytest.mark.slow


def test_single_attempts_and_searches_are_measured_before_more_training_and_after(capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    words = ["--tasks", "2", "--guesses", "1", "2", "--updates", "1"]
    induction.asyncio.run(induction.run(induction.parse(words)))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ways = [(row.get("kind"), row.get("single attempts") or row.get("guesses")) for row in rows]
    singles = ["free", "directly", "thinks"]
    both = [(kind, way) for kind in ("abduction", "induction") for way in [*singles, 1, 2]]
    assert ways == [*both, (None, None), *(("induction", way) for way in singles)]
    assert rows[len(both)]["gold tokens"] > 1000


def test_known_answers_are_inductions_answered_directly_about_no_held_out_program():
    excluded = excluded_forms()
    for (prompt, no_loss), (answer, loss) in itertools.islice(induction.known_answers(random.Random(0)), 20):
        assert prompt.startswith("<induction>\n")
        assert (no_loss, loss) == (0.0, 1.0)
        program = answer.removeprefix("<answer><program>\n").removesuffix("\n</program></answer>")
        assert read(program).normal not in excluded
