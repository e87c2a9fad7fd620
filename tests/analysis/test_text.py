"""Figures and text of a model, in words for people."""

import pytest

from azr.analysis.text import duration, in_points, number, percent, share, visible


@pytest.mark.parametrize(("seconds", "text"), [(4.9, "4 s"), (61, "1 min 01 s"), (7325, "2 h 02 min")])
def test_durations_are_written_with_their_two_largest_units(seconds, text):
    assert duration(seconds) == text


def test_a_share_is_a_percentage():
    assert (share(0.333), share(None)) == ("33%", "-")


def test_what_could_command_the_terminal_is_shown_as_its_escape():
    assert visible("a\x1b[2J\u202eb\rc\x9b") == "a\\x1b[2J\\u202eb\\rc\\x9b"


def test_text_and_its_lines_stay_as_they_are():
    assert visible("def f(x):\n\treturn 'é ✓ 😀'") == "def f(x):\n\treturn 'é ✓ 😀'"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0%"), (0.004, "0.4%"), (0.014, "1%"), (1.0, "100%")])
def test_a_percentage_below_one_has_a_decimal(value, text):
    assert percent(value) == text


def test_a_number_has_two_decimals():
    assert (number(0.456), number(None)) == ("0.46", "-")


def test_a_difference_of_shares_is_in_percentage_points():
    assert in_points(-0.056, (-0.167, 0.0), named="95 % interval ") == "-5.6 points (95 % interval -16.7 to +0.0)"
