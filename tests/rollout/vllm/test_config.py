"""Settings of generation on servers: which combinations make sense."""

import pytest

from azr.errors import UserError
from azr.train.start import resolve

ONE = "generation.urls=http://a:8000"


def test_addresses_are_listed_with_commas():
    assert resolve("demo", [f"{ONE},http://b:8000/"]).generation.urls == ("http://a:8000", "http://b:8000")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generation.urls=a:8000"], "has the form http://host:port"),
        (["generation.urls=http://a:8000/v1"], "http://host:port alone"),
        ([f"{ONE},http://a:8000"], "only once"),
        ([ONE, "generation.top_p=0.9", "generation.temperature=0.8"], r"set generation\.top_p=1 or"),
        (["generation.max_staleness=1"], r"max_staleness needs generation\.urls"),
        ([ONE, "model.name=m@http://b:8000/v1", "selfplay.learn=false"], "not a served model"),
    ],
)
def test_what_makes_no_sense_is_refused(words, expected):
    with pytest.raises(UserError, match=expected):
        resolve("demo", words)


def test_a_password_in_an_address_is_refused_without_repeating_it():
    with pytest.raises(UserError, match="no password") as error:
        resolve("demo", ["generation.urls=http://user:secret@a:8000"])
    assert "secret" not in str(error.value)


def test_the_importance_weight_is_on_where_servers_sample_and_only_there():
    assert resolve("demo", []).algorithm.importance_cap is None
    assert resolve("demo", [ONE]).algorithm.importance_cap == 2.0
    assert resolve("demo", [ONE, "algorithm.importance_cap=5.0"]).algorithm.importance_cap == 5.0
