from collections import Counter
from itertools import islice

import pytest

from azr.domains.python.syntax import read
from azr.domains.python.tasks import load_held_out
from nursery.corpus import fresh
from nursery.grammar import specimens
from nursery.heldout import KINDS, SETS, draw_set, excluded_forms, human_set, statements


def forms(name):
    return [read(task.data["program"]).normal for task in load_held_out(name, KINDS, 10**6)]


@pytest.mark.parametrize(("name", "each"), [("nursery-iid", 300), ("nursery-long", 300), ("nursery-human", 34)])
def test_the_sets_have_their_sizes_and_no_program_twice(name, each):
    tasks = load_held_out(name, KINDS, 10**6)
    assert Counter(task.kind for task in tasks) == dict.fromkeys(KINDS, each)
    assert len(set(forms(name))) == 3 * each


def test_the_sets_have_no_program_in_common():
    assert len(excluded_forms()) == sum(len(forms(name)) for name in SETS)


@pytest.mark.parametrize("name", SETS)
def test_every_gold_value_is_that_of_cpython(name):
    for task in load_held_out(name, KINDS, 60):
        names = {}
        exec(task.data["program"], names)
        inputs = task.data.get("inputs") or [task.data["input"]]
        outputs = task.data.get("outputs") or [task.data["output"]]
        assert [repr(eval(f"f({text})", names)) for text in inputs] == outputs


@pytest.mark.parametrize("name", ["nursery-iid", "nursery-long"])
def test_the_file_is_what_the_generator_draws(name):
    drawn = list(islice(draw_set(name), 9))
    for kind in KINDS:
        assert [dict(t.data) for t in load_held_out(name, [kind], 3)] == [dict(t.data) for k, t in drawn if k == kind]


def test_the_handwritten_file_is_made_of_the_handwritten_text():
    written = [dict(task.data) for _, task in human_set()]
    assert written == [dict(task.data) for task in load_held_out("nursery-human", KINDS, 10**6)]


def test_documents_leave_out_excluded_programs():
    first = [read(specimen.program).normal for specimen in islice(specimens(5), 30)]
    kept = [read(s.program).normal for s in islice(fresh(specimens(5), frozenset(first[:10])), 20)]
    assert not set(first[:10]) & set(kept)


def test_the_base_models_programs_are_in_no_held_out_set():
    """The first programs of its first shard: left alone, some would be (the smallest ones are drawn again and again)."""
    left_alone = {read(specimen.program).normal for specimen in islice(specimens("0/0"), 150)}
    assert left_alone & excluded_forms()
    kept = {read(specimen.program).normal for specimen in islice(fresh(specimens("0/0"), excluded_forms()), 100)}
    assert not kept & excluded_forms()


def test_long_programs_are_longer_than_any_of_a_shard():
    seen = max(statements(specimen.program) for specimen in islice(specimens("0/0"), 150))
    assert min(statements(task.data["program"]) for task in load_held_out("nursery-long", KINDS, 300)) > seen
