"""Which runs a command line asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.errors import UserError
from azr.sweep.folder import places, prepare, read
from azr.sweep.grid import LONGEST, Sweep, folder_name, parse, parse_seeds


def test_a_comma_separates_the_values_of_a_key():
    found = parse(["primes"], ["algorithm.name=trr++,grpo", "steps=20"], "0-1")
    assert found.settings == {
        "algorithm.name=trr++": ("algorithm.name=trr++",),
        "algorithm.name=grpo": ("algorithm.name=grpo",),
    }
    assert list(found.words) == ["steps=20"]


def test_two_keys_with_several_values_give_every_combination():
    found = parse(["primes"], ["a=1,2", "b=x,y"], "0")
    assert list(found.settings) == ["a=1, b=x", "a=1, b=y", "a=2, b=x", "a=2, b=y"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('domain.kinds=["deduction","abduction"]', []),
        ('domain.kinds=["deduction"],["abduction","induction"]', ['["deduction"]', '["abduction","induction"]']),
        ('model.name="a,b"', []),
        ("x={a=1,b=2},{a=3,b=4}", ["{a=1,b=2}", "{a=3,b=4}"]),
    ],
)
def test_brackets_and_quotes_protect_commas(text, values):
    key = text.partition("=")[0]
    found = parse(["primes"], [text], "0")
    assert list(found.settings) == ([f"{key}={value}" for value in values] or ["primes"])
    assert list(found.words) == ([] if values else [text])


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0,2,7", [0, 2, 7]), ("0-1,5", [0, 1, 5])]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "1-", "0-2,1"])
def test_other_seeds_are_refused(text):
    with pytest.raises(UserError, match=f"--seeds {text}"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a=1,"], "a value is empty"),
        (["a=1,1"], "named twice"),
        (["seed=1,2"], "use --seeds"),
        (["output_dir=x"], "use --out"),
    ],
)
def test_a_grid_that_is_wrong_is_told(words, expected):
    with pytest.raises(UserError, match=expected):
        parse(["primes"], words, "0")


@given(st.text(min_size=1, max_size=300))
def test_the_folder_of_a_setting_is_one_short_name_without_an_equals_sign(setting):
    name = folder_name(setting)
    assert len(name) <= LONGEST
    assert not set("/=\0") & set(name)
    assert not name.startswith(".")


def test_a_sweep_is_read_back_as_it_was_written(tmp_path):
    wanted = parse(["primes"], ["algorithm.name=trr++,grpo", "steps=20"], "0-2")
    prepare(tmp_path / "sweep", wanted)
    found = read(tmp_path / "sweep")
    assert [place.title for place in places(tmp_path, found)] == [place.title for place in places(tmp_path, wanted)]


def test_more_seeds_and_settings_are_added_to_a_sweep(tmp_path):
    prepare(tmp_path, parse(["primes"], ["learner.lr=1e-4,2e-4"], "0-1"))
    known = prepare(tmp_path, parse(["primes"], ["learner.lr=2e-4,3e-4"], "1-2"))
    assert list(known.settings) == ["learner.lr=1e-4", "learner.lr=2e-4", "learner.lr=3e-4"]
    assert known.seeds == [0, 1, 2]


@pytest.mark.parametrize("other", [Sweep("primes", {"a": ()}, [0], ["steps=3"]), Sweep("demo", {"a": ()}, [0])])
def test_another_sweep_is_not_mixed_with_the_one_that_is_there(tmp_path, other):
    prepare(tmp_path, Sweep("primes", {"a": ()}, [0], ["steps=2"]))
    before = (tmp_path / "sweep.json").read_text()
    with pytest.raises(UserError, match="holds another sweep"):
        prepare(tmp_path, other)
    assert (tmp_path / "sweep.json").read_text() == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no sweep"):
        prepare(tmp_path, Sweep("primes", {"a": ()}, [0]))
