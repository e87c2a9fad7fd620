"""Which settings a model is played with, and what is refused before any model is loaded."""

import json
from pathlib import Path

import pytest

from azr.errors import UserError
from azr.play.command import Request, buffer_of, play, program_text, run_of, settle
from tests.played import Played
from tests.runs import azr
from tests.selfplay.test_selfplay import script


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return Played(tmp_path_factory.mktemp("played"), None, script).path


def with_model(run: Path) -> Path:
    (run / "model").mkdir(exist_ok=True)
    (run / "model" / "config.json").write_text("{}")
    return run


def test_a_shipped_model_is_played_as_its_preset_trains_it():
    config = settle("nursery-primes", [], samples=5, seed=3)
    assert (config.domain.name, config.domain.style, config.model.name) == ("primes", "compact", "nursery-primes")
    assert (config.selfplay.samples, config.selfplay.batch_size, config.seed) == (5, 1, 3)


def test_any_other_model_is_played_with_programs_unless_told_otherwise():
    config = settle("some/model", ["domain.style=chat", "generation.temperature=0.5"], samples=8, seed=None)
    assert (config.domain.name, config.domain.style, config.generation.temperature) == ("python", "chat", 0.5)


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_runs_model_is_played_with_the_runs_settings(run, inside):
    path = with_model(run) / inside
    config = settle(str(path), [], samples=8, seed=None)
    assert run_of(str(path)) == run
    assert config.model.name == str(run / "model")
    assert config.domain.induction_inputs == 4


def test_a_run_without_a_checkpoint_lends_no_tasks(run):
    assert buffer_of(run) is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("nursery", mode="sove", once=True), "--mode sove: no such mode; use propose or solve"),
        (Request("nursery", kind="deduktion", once=True), "domain has deduction, abduction, induction"),
        (Request("nursery"), "standard input is not a terminal; use --once"),
        (Request("nursery", once=True, parts={"input": ["1"]}), "propose deduction: missing --program"),
        (
            Request("nursery", once=True, parts={"message": ["m"]}),
            "--message: unknown for propose deduction; use --program",
        ),
        (Request("nursery-primes", once=True, parts={"input": ["1"]}), "--input: unknown for propose .*; use --answer"),
        (Request("nursery", once=True, assignments=["selfplay.sampels=3"]), "did you mean samples"),
    ],
)
def test_what_cannot_be_played_is_one_line(request_, message):
    with pytest.raises(UserError, match=message):
        play(request_)


def test_a_program_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        program_text(tmp_path / "none.py")


@pytest.mark.slow
def test_the_shipped_model_attempts_what_is_proposed_on_the_command_line(tmp_path):
    (tmp_path / "f.py").write_text("def f(a, b):\n    return a * b + 1\n")
    words = ["--once", "--json", "--attempts", 3, "--program", "f.py", "--input", "3, 4"]
    done = azr("play", "nursery", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["task"]["text"].endswith("f(3, 4) == 13")
    rate = sum(attempt["verdict"]["passed"] for attempt in told["attempts"]) / 3
    assert told["solve_rate"] == rate
    learnability = 1 - rate if rate else 0.0
    assert told["reward"] == pytest.approx(learnability + 2 * told["intrinsic"]["novelty"])  # the demo pays for novelty
    again = azr("play", "nursery", *words, cwd=tmp_path)
    assert json.loads(again.stdout) == told


@pytest.mark.slow
def test_the_shipped_model_proposes_and_standard_input_answers(tmp_path):
    done = azr("play", "nursery", "--once", "--json", "--mode", "solve", cwd=tmp_path, input="nonsense(\n")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (attempt,) = told["attempts"]
    assert (attempt["text"], attempt["verdict"]["passed"]) == ("<answer>nonsense(</answer>", False)
    assert told["task"]["text"]
