"""A line of metrics, from the events of a step that is small enough to count by hand."""

import pytest

from azr.analysis.figures import figures
from azr.analysis.metrics import step_metrics
from azr.analysis.step import OpenStep

TASKS = [("a", 0, "identity"), ("a", 2, None), ("b", 1, "constant"), ("c", 2, None)]
"""Shape, how many of two attempts are right, and degenerate form of each new task."""
ADVANTAGES = (0.5, 0.0, -0.25, 0.0)


def events():
    about = {"step": 3, "kind": "deduction", "text": "", "finished": True}
    for index, (shape, solved, form) in enumerate(TASKS):
        name = f"3/propose/deduction/{index:04d}"
        yield about | {"event": "proposal", "id": name, "references": [], "tokens": 10}
        yield {"event": "verdict", "step": 3, "id": name, "score": 1.0, "reason": "accepted"}
        intrinsic = {"novelty": index / 4, "complexity": 0.5}
        task = {"id": f"t{index}", "shape": shape, "depth": (0, 0, 1, 4)[index]}
        about_it = {"trivial": form, "intrinsic": intrinsic, "length": (3, 9, 4, 5)[index]}
        yield {"event": "task", "step": 3, "proposal": name, "task": task} | about_it
        for attempt in range(2):
            own = f"3/solve/deduction/{index:04d}/{attempt}"
            yield about | {"event": "attempt", "id": own, "task": f"t{index}", "tokens": None}
            score, reason = (1.0, "correct") if attempt < solved else (0.5, "wrong")
            yield {"event": "verdict", "step": 3, "id": own, "score": score, "reason": reason}
    rejected = "3/propose/deduction/0004"
    yield about | {"event": "proposal", "id": rejected, "references": [], "tokens": 30, "finished": False}
    yield {"event": "verdict", "step": 3, "id": rejected, "score": 0.0, "reason": "syntax"}
    yield {"event": "reward", "step": 3, "id": "3/solve/deduction/0000/0", "reward": 1.0}
    for index, advantage in enumerate(ADVANTAGES):
        name = f"3/propose/deduction/{index:04d}"
        yield {"event": "reward", "step": 3, "id": name, "reward": float(index)}
        yield {"event": "advantage", "step": 3, "id": name, "advantage": advantage}
    yield {"event": "update", "step": 3, "loss": 0.5}


@pytest.fixture
def measured():
    step = OpenStep(3)
    assert list(step.passing(events())) == list(events())
    return step_metrics(figures(step, known={"b", "z"}), {"deduction": 9, "induction": 1})


def test_a_kind_has_its_rates_its_reasons_and_the_size_of_its_buffer(measured):
    assert measured["kinds"]["deduction"] == {
        "valid": 0.8,
        "solve_rate": 5 / 8,
        "learnability": 0.125,  # Eq. 4 gives 0, 0, 1/2 and 0
        "proposals": {"accepted": 4, "syntax": 1},
        "answers": {"correct": 5, "wrong": 3},
        "buffer": 9,
    }


def test_a_kind_that_nothing_was_proposed_in_is_there_without_rates(measured):
    rates = dict.fromkeys(("valid", "solve_rate", "learnability"))
    assert measured["kinds"]["induction"] == rates | {"proposals": {}, "answers": {}, "buffer": 1}


def test_a_role_is_measured_over_the_rollouts_with_a_reward(measured):
    assert measured["roles"]["propose"] == {"reward": 1.5, "tokens": 10.0, "unfinished": 0.0, "rollouts": 4}


def test_lengths_that_a_server_did_not_report_have_no_mean(measured):
    assert measured["roles"]["solve"] == {"reward": 1.0, "tokens": None, "unfinished": 0.0, "rollouts": 1}


def test_the_signal_has_shares_of_new_tasks_and_of_rollouts(measured):
    assert measured["signal"] == {
        "trivial": 0.5,
        "trivial_constant": 0.25,
        "trivial_identity": 0.25,
        "distinct_shapes": 0.75,
        "known_shapes": 0.25,
        "all_solved": 0.5,
        "none_solved": 0.25,
        "zero_advantage": 0.5,
        "novelty": 0.375,
        "complexity": 0.5,
        "length": 4.5,
        "depth": 0.5,
    }


def test_a_band_holds_the_middle_half_of_the_new_tasks():
    step = OpenStep(3)
    list(step.passing(events()))
    found = figures(step, set())
    assert found.length == (3.75, 4.5, 6.0)
    assert found.depth == (0.0, 0.5, 1.75)


def test_events_from_before_lengths_and_depths_have_none(measured):
    step = OpenStep(3)
    for event in events():
        event.pop("length", None)
        if event["event"] == "task":
            del event["task"]["depth"]
        step.add(event)
    old = step_metrics(figures(step, {"b", "z"}), {"deduction": 9, "induction": 1})
    assert old["signal"] == {name: of for name, of in measured["signal"].items() if name not in ("length", "depth")}


def test_a_step_without_new_tasks_has_no_shares_of_them():
    empty = step_metrics(figures(OpenStep(1), set()), {})
    assert empty["signal"] == dict.fromkeys(("all_solved", "none_solved", "zero_advantage"), 0.0)
    assert empty["alarms"] == []


def test_the_learners_metrics_and_the_alarms_are_those_of_the_step(measured):
    assert measured["step"] == 3
    assert measured["learner"] == {"loss": 0.5}
    forms = ("constant", "identity")
    assert measured["alarms"] == [f"25% of new tasks in step 3 are {form} functions" for form in forms]


def test_attempts_that_searched_tell_how_good_the_models_own_check_is():
    step = OpenStep(3)
    about = {"event": "attempt", "step": 3, "kind": "abduction", "task": "t", "text": "", "tokens": 1, "finished": True}
    for index, (rejected, agreed, score) in enumerate([([], True, 1.0), (["a", "b"], True, 0.0), (["c"], False, 1.0)]):
        name = f"3/solve/abduction/0000/{index}"
        step.add(about | {"id": name, "rejected": rejected, "agreed": agreed})
        step.add({"event": "verdict", "step": 3, "id": name, "score": score, "reason": ""})
    found = step_metrics(figures(step, set()), {"abduction": 1})["kinds"]["abduction"]
    assert found["search"] == {"guesses": 2.0, "agreed": 2 / 3, "right": 0.5}


def test_demonstrations_are_counted_by_kind():
    step = OpenStep(3)
    step.add(
        {"event": "attempt", "id": "3/solve/x/0/0", "kind": "x", "task": "t", "text": "", "tokens": 1, "finished": True}
    )
    for _ in range(2):
        step.add({"event": "demonstration", "id": "any", "kind": "x"})
    assert step_metrics(figures(step, set()), {"x": 1})["kinds"]["x"]["demonstrations"] == 2
