"""Inputs that fuzzing found to reach far into the reader of a child's bytes; none of them breaks a rule."""

from pathlib import Path

import pytest

from tests.fuzz.child_bytes import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_no_bytes_of_the_corpus_break_a_rule(path):
    check(path.read_bytes())
