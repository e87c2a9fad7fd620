"""A real run whose attempts search: it repeats exactly, and it goes on exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import azr, events, metrics, only_run

pytestmark = pytest.mark.slow

SEARCHING = """
steps = 2
threads = 1

[model]
name = "nursery"

[domain]
name = "python"
style = "compact"
induction_inputs = 6
induction_shown = 3

[selfplay]
batch_size = 3
references = 1
samples = 3
seed_factor = 1
seed_shortfall = "play_on"

[selfplay.search]
guesses = 3
gold = 0.5
relabelled = 0.5

[generation]
max_prompt_tokens = 512
max_propose_tokens = 160
max_solve_tokens = 160

[evaluation]
tasks = 0

[checkpoint]
every = 1
"""


def trained(folder: Path, *words: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "searching.toml").write_text(SEARCHING)
    done = azr("train", "searching.toml", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "runs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("whole"))


def test_abductions_and_inductions_search_and_deductions_do_not(whole):
    attempts = [event for event in events(whole) if event["event"] == "attempt"]
    assert {event["kind"] for event in attempts if "agreed" in event} == {"abduction", "induction"}
    assert any(event["rejected"] for event in attempts if "rejected" in event)


def test_programs_are_shown_and_learnt(whole):
    shown = [event for event in events(whole) if event["event"] == "demonstration"]
    assert {event["source"] for event in shown} == {"gold", "relabelled"}
    sampled = [event for event in events(whole) if event["event"] in ("proposal", "attempt") and event["step"] == 1]
    assert metrics(whole)[0]["learner"]["tokens"] > sum(event["tokens"] for event in sampled)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_searches_goes_on_as_if_it_had_not_stopped(whole, tmp_path, processes):
    words = (f"learner.processes={processes}",)
    whole = whole if processes == 1 else trained(tmp_path / "whole", *words)
    stopped = trained(tmp_path / "stopped", "steps=1", *words)
    done = azr("train", "--resume", stopped, "steps=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (stopped / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (stopped, whole)]
    assert weights[0] == weights[1]
