"""What a person sees while training."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from azr.train import screen
from azr.train.screen import LiveScreen, PlainScreen, make_screen

METRICS = {
    "step": 2,
    "kinds": {
        "deduction": {
            "valid": 0.75,
            "solve_rate": 0.5,
            "learnability": 0.25,
            "buffer": 9,
            "proposals": {"accepted": 3, "syntax": 1},
        },
        "induction": {
            "valid": 0.0,
            "solve_rate": None,
            "learnability": None,
            "buffer": 1,
            "proposals": {"no_input": 4},
        },
    },
    "alarms": ["38% of new tasks are identity or constant functions"],
    "seconds": {"step": 4.0, "propose": 1.0, "validate": 0.4, "solve": 1.6, "verify": 0.2, "learn": 0.8},
}


class Terminal(io.StringIO):
    """Text that a terminal would show."""

    def isatty(self) -> bool:
        return True


def written(make, terminal: bool, width: int = 200) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, color_system=None)
    with make(console, 10) as shown:
        shown.say("a line that [stays]")
        shown.doing("step 2: learning")
        shown.step(METRICS)
    return file.getvalue()


@pytest.mark.parametrize(("make", "terminal"), [(LiveScreen, True), (PlainScreen, False)])
def test_a_step_shows_rates_learnability_time_shares_and_alarms(make, terminal):
    text = written(make, terminal)
    for part in (
        "deduction",
        "75%",
        "50%",
        "0.25",
        "a line that [stays]",
        "propose 25%",
        "learn 20%",
        "! 38% of new tasks",
    ):
        assert part in text


def test_the_live_table_shows_progress_and_why_proposals_fail():
    text = written(LiveScreen, True)
    assert "2/10 steps" in text
    assert "syntax 1" in text


def test_a_narrow_terminal_keeps_the_kinds():
    assert "\ninduction " in written(LiveScreen, True, width=44)


def test_what_was_not_measured_is_a_dash():
    assert "induction valid 0% solved - learnability -" in written(PlainScreen, False)


def test_without_a_terminal_plain_lines_are_written():
    assert isinstance(make_screen(3, Console(file=io.StringIO())), PlainScreen)


def test_on_a_terminal_the_table_is_live(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert isinstance(make_screen(3, Console(file=Terminal())), LiveScreen)


def test_a_heartbeat_is_heard_when_nothing_else_is_said(monkeypatch):
    monkeypatch.setattr(screen, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(screen, "TICK_SECONDS", 0.01)
    file = io.StringIO()
    with PlainScreen(Console(file=file), 3) as shown:
        shown.doing("seeding the buffers")
        while "seeding" not in file.getvalue():
            pass
    assert "... seeding the buffers, " in file.getvalue()


def test_the_time_that_is_left_leaves_out_what_came_before_the_first_step(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(screen, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    file = io.StringIO()
    shown = PlainScreen(Console(file=file, width=300), 10)
    for clock[0], number in ((100.0, 1), (106.0, 2)):  # 96 s of seeding, a step of 4 s, one of 4 s with an evaluation
        shown.step(METRICS | {"step": number})
    assert [line.rsplit("  ", 1)[1] for line in file.getvalue().splitlines() if "left" in line] == [
        "36 s left",
        "40 s left",
    ]
