"""What `azr watch` draws on the terminal of a run that begins, goes on, is cut back, and ends."""

import io
import json
import os

import pytest
from rich.console import Console

from azr.analysis.run import Follower
from azr.watch.command import watch
from azr.watch.terminal import newest, sparkline
from tests.played import play
from tests.runs import azr
from tests.selfplay.test_selfplay import script


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("watched"), script, 2)


@pytest.fixture
def drawn(monkeypatch):
    """Draws a run once; the text is returned."""

    def draw(run, width=120):
        console = Console(width=width, file=io.StringIO(), highlight=False)
        monkeypatch.setattr("azr.watch.command.Console", lambda **_: console)
        watch(run, once=True)
        return console.file.getvalue()

    return draw


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([0.0, 0.5, 1.0], 9, "▁▅█"),
        ([1.0, None, 0.0], 9, "█ ▁"),
        ([3.0, 3.0], 9, "──"),
        ([0.0, None, 0.0], 9, "─ ─"),
        ([0.0, 0.0, 7.0, 7.0], 2, "▁█"),
        ([None, None], 9, ""),
        ([], 9, ""),
    ],
)
def test_a_sparkline_spans_the_values_that_there_are(values, width, bars):
    assert sparkline(values, width) == bars


def test_a_run_is_drawn_with_its_rates_tasks_and_step(played, drawn):
    run, records = played
    page = drawn(run.path)
    assert "step 2 of 2" in page
    assert "all steps are done" in page
    row = next(line for line in page.splitlines() if line.startswith("deduction"))
    assert [word for word in row.split() if word[0].isdigit()] == ["100%", "50%", "0.50"]  # valid, solved, learnability
    assert "newest deduction" in page
    last = [task for task in records[-1].admitted if task.kind == "deduction"][-1]
    assert last.data["program"].splitlines()[-1].strip() in page
    assert "2 of 4 right, reward +0.50" in page


def test_a_narrow_terminal_keeps_kinds_and_rates(played, drawn):
    page = drawn(played[0].path, width=44)
    row = next(line for line in page.splitlines() if line.startswith("deduction"))
    assert row.split()[1] == "100%"


def test_the_newest_tasks_are_the_last_that_were_admitted(played):
    run, records = played
    follower = Follower(run.path, texts=False)
    follower.poll()
    expected = {task.kind: task.id for task in records[-1].admitted}
    assert {kind: found.task.id for kind, found in newest(follower).items()} == expected


def test_a_run_that_has_just_begun_is_drawn(tmp_path, drawn):
    from tests.played import Played

    assert "nothing is written yet" in drawn(Played(tmp_path, None, script).path)


def test_held_out_accuracy_is_drawn_with_its_gain_in_points(played, drawn):
    path = played[0].path / "events.jsonl"
    length = path.stat().st_size
    answer = {"event": "held_out", "kind": "deduction", "task": "t", "text": "", "reason": ""}
    with path.open("a") as file:
        for step, scores in ((0, (0.0, 0.0)), (2, (1.0, 1.0))):
            file.writelines(json.dumps(answer | {"step": step, "score": score}) + "\n" for score in scores)
    page = drawn(played[0].path)
    os.truncate(path, length)
    assert "after step 2: 100.0% (100.0% to 100.0%), +100.0 points (+100.0 to +100.0) on the untrained model" in page


def test_a_line_that_is_still_being_written_does_no_harm(played, drawn):
    path = played[0].path / "events.jsonl"
    length, page = path.stat().st_size, drawn(played[0].path)
    with path.open("a") as file:
        file.write('{"event": "proposal", "step": 3, "id": "3/pro')
    assert drawn(played[0].path) == page
    os.truncate(path, length)


def test_what_a_model_wrote_cannot_reach_the_terminal_as_a_command(played, drawn):
    path = played[0].path / "events.jsonl"
    before = path.read_text()
    path.write_text(
        before.replace('"reason": "correct"', '"reason": "\\u001b[2J[bold]"').replace(
            "return x + ", "return x +  # \\u001b[31m"
        )
    )
    page = drawn(played[0].path)
    path.write_text(before)
    assert "\x1b" not in page
    assert "\\x1b[31m" in page


@pytest.mark.slow
def test_without_a_terminal_the_run_is_drawn_once(played, tmp_path):
    done = azr("watch", played[0].path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step 2 of 2" in done.stdout


@pytest.mark.slow
def test_ctrl_c_ends_the_server_cleanly(played, tmp_path):
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "azr", "watch", str(played[0].path), "--web", "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "the run goes on" in out
