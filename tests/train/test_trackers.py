"""What trackers are told of a run: everything once, whatever happens to them or to the run."""

import sys
import threading

import pytest

from azr.domains.registry import config_class
from azr.errors import UserError
from azr.settings import build
from azr.train.trackers.base import COLUMNS, About, Entry, SampleTask, entry, is_due
from azr.train.trackers.feed import Feed, make_trackers
from azr.train.trackers.services import TensorBoard
from tests.test_settings import MINIMAL

STEPS = [{"step": number, "learner": {"loss": number / 2}} for number in range(1, 4)]
HELD_OUT = {"step": 2, "held_out": {"mean": {"accuracy": 0.5, "interval": [0.25, 0.75]}, "marks": {"a": [1, 0]}}}


class Memory:
    """A tracker that keeps what it is told, and can be made to fail or to wait."""

    def __init__(self, fails_at=None, gate=None):
        self.about, self.told, self.closed = None, [], False
        self._fails_at, self._gate = fails_at, gate

    def open(self, about: About):
        self.about = about
        return "its-name"

    def log(self, entry: Entry):
        if self._gate is not None:
            assert self._gate.wait(30)
        if entry.step == self._fails_at:
            raise ConnectionError("no route to host\nsecond line")
        self.told.append((entry.series, entry.step))

    def close(self):
        self.closed = True


def config(**trackers):
    return build({**MINIMAL, "trackers": trackers}, config_class, source="test")


def follow(tmp_path, trackers, records, history=(), say=None):
    with Feed(trackers, config(), tmp_path, say or pytest.fail) as feed:
        feed.begin(history)
        for record in records:
            feed.send(record)


def test_an_entry_holds_every_number_of_a_line_under_its_path():
    record = {
        "step": 7,
        "kinds": {"deduction": {"valid": 0.5, "solve_rate": None, "proposals": {"accepted": 3}}},
        "alarms": ["one", "two"],
    }
    values = {"kinds/deduction/valid": 0.5, "kinds/deduction/proposals/accepted": 3.0, "alarms": 2.0}
    assert entry(record) == Entry(7, "step", values)


def test_an_entry_of_held_out_accuracy_has_both_ends_of_the_interval_and_no_single_marks():
    values = {"held_out/mean/accuracy": 0.5, "held_out/mean/low": 0.25, "held_out/mean/high": 0.75}
    assert entry(HELD_OUT) == Entry(2, "held_out", values)


def test_a_tracker_is_told_the_history_then_every_line(tmp_path):
    memory = Memory()
    follow(tmp_path, {"memory": memory}, [HELD_OUT, STEPS[2]], history=STEPS[:2])
    assert memory.told == [("step", 1), ("step", 2), ("held_out", 2), ("step", 3)]
    assert memory.closed


def test_a_run_that_goes_on_tells_what_was_missed_and_nothing_twice(tmp_path):
    follow(tmp_path, {"memory": Memory()}, [STEPS[0], STEPS[1], HELD_OUT])
    again = Memory()
    follow(tmp_path, {"memory": again}, [STEPS[1], HELD_OUT, STEPS[2]], history=STEPS[:1])
    assert again.told == [("step", 3)]
    assert again.about.id == "its-name"


def test_a_tracker_that_fails_is_told_of_in_one_line_and_the_others_go_on(tmp_path):
    lines, well = [], Memory()
    follow(tmp_path, {"ill": Memory(fails_at=2), "well": well}, STEPS, say=lines.append)
    (line,) = lines
    assert line.startswith("tracker ill stopped: no route to host; the run goes on")
    assert "\n" not in line
    assert [step for _, step in well.told] == [1, 2, 3]


def test_a_tracker_that_does_not_answer_holds_nobody_up(tmp_path):
    gate = threading.Event()
    memory = Memory(gate=gate)
    with Feed({"memory": memory}, config(), tmp_path, pytest.fail) as feed:
        feed.begin([])
        for record in STEPS:
            feed.send(record)
        assert memory.told == []
        gate.set()
    assert [step for _, step in memory.told] == [1, 2, 3]


def test_a_feed_without_trackers_leaves_no_files(tmp_path):
    follow(tmp_path, {}, STEPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "library"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("trackio", "trackio")]
)
def test_a_missing_extra_is_told_with_what_to_install(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"trackers.use = {name} needs the extra `{name}`.*'azr\[{name}\]'"):
        make_trackers(config(use=[name]).trackers)


def test_trackers_are_named_in_a_row_on_the_command_line():
    assert config(use="wandb, trackio").trackers.use == ("wandb", "trackio")


@pytest.mark.parametrize(
    ("use", "why"), [("wandb,wandb", "each tracker may be listed only once"), ("mlflow", "input should be")]
)
def test_a_tracker_that_is_unknown_or_named_twice_is_refused(use, why):
    with pytest.raises(UserError, match=why):
        config(use=use)


def test_sample_tasks_are_shown_ten_times_and_at_the_end():
    assert [step for step in range(1, 106) if is_due(step, 105)] == [*range(10, 101, 10), 105]
    assert all(is_due(step, 3) for step in (1, 2, 3))


def test_rows_of_sample_tasks_follow_the_columns():
    row = Entry(1, "step", {}, [SampleTask("deduction", "f(1) == 2", 0.5, None)]).rows()
    assert dict(zip(COLUMNS, row[0], strict=True)) == {
        "kind": "deduction",
        "task": "f(1) == 2",
        "solve_rate": 0.5,
        "reward": None,
    }


def test_tensorboard_files_hold_numbers_and_tasks_at_their_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Feed({"tensorboard": TensorBoard()}, config(), tmp_path, pytest.fail) as feed:
        feed.begin(STEPS[:2])
        feed.send(HELD_OUT)
        feed.send(STEPS[2], [SampleTask("deduction", "```\n</pre><script>", 0.25, 0.75)])
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in read.Scalars("learner/loss")] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert [(e.step, e.value) for e in read.Scalars("held_out/mean/low")] == [(2, 0.25)]
    (text,) = read.Tensors("tasks/0_deduction/text_summary")
    assert text.step == 3
    assert text.tensor_proto.string_val[0] == b"solve rate 0.25, reward 0.75\n\n    ```\n    </pre><script>"
