"""Which tasks `domain.held_out` names: those of one set, of several, or of files."""

import json

import pytest

from azr.config import SandboxConfig
from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.tasks import load_held_out
from azr.errors import UserError
from azr.types import DEDUCTION

KINDS = (DEDUCTION,)


def write_set(path, value: int) -> str:
    data = {"program": f"def f(a):\n    return a + {value}", "input": "1", "output": str(value + 1)}
    path.write_text(json.dumps({"kind": DEDUCTION, "data": data}) + "\n")
    return str(path)


@pytest.mark.parametrize("separator", [",", ", "])
async def test_several_sets_give_their_first_tasks_each_with_the_length_that_they_are_named_for(separator):
    names = ("nursery-steps-3", "nursery-steps-8")
    domain = PythonDomain(PythonConfig(kinds=KINDS, held_out=separator.join(names)), SandboxConfig())
    tasks = await domain.held_out(4, None)
    assert list(tasks) == [task for name in names for task in load_held_out(name, KINDS, 4)]
    assert [domain.length(task) for task in tasks] == [3] * 4 + [8] * 4


def test_a_set_and_a_file_can_be_joined(tmp_path):
    path = write_set(tmp_path / "own.jsonl", 7)
    own, *shipped = load_held_out(f"{path},nursery-steps-3", KINDS, 2)
    assert own.data["output"] == "8"
    assert shipped == load_held_out("nursery-steps-3", KINDS, 2)


def test_a_file_with_a_comma_in_its_name_is_one_set(tmp_path):
    (task,) = load_held_out(write_set(tmp_path / "a,b.jsonl", 7), KINDS, 9)
    assert task.data["output"] == "8"


def test_a_set_that_is_named_twice_is_taken_once():
    assert load_held_out("nursery-steps-3,nursery-steps-3", KINDS, 2) == load_held_out("nursery-steps-3", KINDS, 2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nursery-steps-3,nursery-steps-5", "held-out set nursery-steps-5: "),
        ("nursery-steps-3,,nursery-steps-4", "domain.held_out = nursery-steps-3,,nursery-steps-4: a name is missing"),
        ("nursery-steps-3,", "domain.held_out = nursery-steps-3,: a name is missing"),
    ],
)
def test_an_unknown_or_missing_name_among_several_is_one_clear_line(source, message):
    with pytest.raises(UserError) as caught:
        load_held_out(source, KINDS, 1)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
