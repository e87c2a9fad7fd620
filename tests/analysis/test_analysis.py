"""Every number that a report shows, against a second count of the same log by other code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from azr.analysis.figures import STAGES
from azr.analysis.run import Analysis, Follower
from tests.played import play
from tests.report.by_hand import Recount, quartiles, wilson
from tests.report.logs import KINDS, line, write_run
from tests.selfplay.test_selfplay import script


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def data(run):
    return analysed(run).data()


@pytest.fixture(scope="module")
def recount(run) -> Recount:
    return Recount(run)


def analysed(run: Path) -> Analysis:
    follower = Follower(run)
    follower.poll()
    follower.analysis.close()
    return follower.analysis


def by_step(recount: Recount, measure, *of) -> list:
    return [pytest.approx(measure(step, *of)) if measure(step, *of) is not None else None for step in recount.steps]


# Curves


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("column", "measure"),
    [
        ("valid", Recount.valid),
        ("solve_rate", Recount.solve_rate),
        ("learnability", Recount.mean_learnability),
        *(
            (name, lambda r, s, k, name=name: r.intrinsic(name, s, k))
            for name in ("novelty", "complexity", "diversity")
        ),
    ],
)
def test_a_curve_by_kind_is_what_the_events_say(data, recount, kind, column, measure):
    assert data["curves"]["kinds"][kind][column] == by_step(recount, lambda step: measure(recount, step, kind))


@pytest.mark.parametrize("role", ["propose", "solve"])
@pytest.mark.parametrize(
    ("column", "measure"),
    [("reward", Recount.mean_reward), ("tokens", Recount.tokens), ("unfinished", Recount.unfinished)],
)
def test_a_curve_by_role_is_what_the_events_say(data, recount, role, column, measure):
    assert data["curves"]["roles"][role][column] == by_step(recount, lambda step: measure(recount, step, role))


def test_the_histogram_counts_each_new_task_by_its_learnability(data, recount):
    assert data["curves"]["bands"] == [recount.bands(step) for step in recount.steps]
    assert sum(map(sum, data["curves"]["bands"])) > 20  # so that rows are not empty by accident


@pytest.mark.parametrize("form", ["identity", "constant"])
def test_degenerate_tasks_are_counted_by_form(data, recount, form):
    assert data["curves"]["trivial"][form] == by_step(recount, lambda step: recount.trivial(form, step))


@pytest.mark.parametrize(("column", "measure"), [("length", Recount.length), ("depth", Recount.depth)])
def test_lengths_and_depths_are_told_by_their_quartiles(data, recount, column, measure):
    columns = data["curves"][column]
    for at, step in enumerate(recount.steps):
        found = tuple(columns[name][at] for name in ("low", "median", "high"))
        assert found == pytest.approx(quartiles(measure(recount, step)))


def test_held_out_accuracy_is_told_by_length(data, recount):
    for evaluation in data["held_out"]:
        marks = recount.marks_by_length(evaluation["step"])
        found = {int(length): (of["accuracy"], of["tasks"]) for length, of in evaluation["lengths"].items()}
        assert found == {length: (sum(of) / len(of), len(of)) for length, of in sorted(marks.items())}


def test_a_run_from_before_lengths_is_read_without_them(tmp_path):
    old = write_run(tmp_path, steps=2)
    events = [json.loads(text) for text in (old / "events.jsonl").read_text().splitlines()]
    for event in events:
        event.pop("length", None)
        if event["event"] == "task":
            del event["task"]["depth"]
    (old / "events.jsonl").write_text("".join(map(line, events)))
    found = analysed(old).data()
    assert found["unknown"] == {}
    assert found["curves"]["length"] == found["curves"]["depth"] == dict.fromkeys(("low", "median", "high"), [None] * 2)
    assert not any("lengths" in evaluation for evaluation in found["held_out"])


def test_shapes_and_flat_advantages_are_counted(data, recount):
    repeated = [None if share is None else 1 - share for share in data["curves"]["shapes"]]
    assert repeated == by_step(recount, recount.repeated_shapes)
    assert data["curves"]["known_shapes"] == by_step(recount, recount.known_shapes)
    assert data["curves"]["flat"] == by_step(recount, recount.flat)


@pytest.mark.parametrize("name", ["entropy", "clip_share", "mismatch_kl", "grad_norm"])
def test_the_learners_metrics_are_those_of_the_update(data, recount, name):
    assert data["curves"]["learner"][name] == [recount.update(name, step) for step in recount.steps]


@pytest.mark.parametrize("stage", [*STAGES, "step"])
def test_times_are_those_of_the_metrics(data, recount, stage):
    assert data["curves"]["seconds"][stage] == [recount.seconds(step).get(stage) for step in recount.steps]


# Held out


def test_held_out_accuracy_is_the_mean_of_kinds(data, recount):
    found = {evaluation["step"]: evaluation["mean"]["accuracy"] for evaluation in data["held_out"]}
    assert found == {step: pytest.approx(recount.accuracy(step)) for step in (0, 2, 4, 6)}


def test_the_intervals_of_kinds_are_wilsons(data, recount):
    for evaluation in data["held_out"]:
        for kind, marks in recount.marks(evaluation["step"]).items():
            found = evaluation["kinds"][kind]
            assert found["accuracy"] == pytest.approx(sum(marks) / len(marks))
            assert found["interval"] == pytest.approx(wilson(sum(marks), len(marks)), abs=1e-9)


def test_the_interval_of_the_mean_and_of_the_gain_are_bootstraps_over_tasks(data, recount):
    rng, (before, after) = np.random.default_rng(1), (recount.marks(0), recount.marks(6))
    means, gains = [], []
    for _ in range(1500):
        drawn = {kind: rng.integers(0, len(marks), len(marks)) for kind, marks in after.items()}
        means.append(np.mean([np.mean([after[kind][i] for i in drawn[kind]]) for kind in drawn]))
        gains.append(np.mean([np.mean([after[kind][i] - before[kind][i] for i in drawn[kind]]) for kind in drawn]))
    last = data["held_out"][-1]
    assert last["mean"]["interval"] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    assert last["gain"]["interval"] == pytest.approx(np.percentile(gains, [2.5, 97.5]), abs=0.03)
    assert last["gain"]["accuracy"] == pytest.approx(recount.accuracy(6) - recount.accuracy(0))


def test_the_random_guess_comes_from_the_metrics(data):
    assert data["guess"] == 0.0625


# The family


def rows(family) -> list[dict]:
    columns = family["columns"]
    return [{name: columns[name][row] for name in columns} for row in range(len(columns["step"]))]


def test_every_proposal_is_in_the_family_with_its_verdict_and_parents(data, recount):
    family, proposals = data["family"], [e for e in recount.events if e["event"] == "proposal"]
    assert len(rows(family)) == len(proposals)
    for row, event in zip(rows(family), proposals, strict=True):
        name = f"{row['step']}/propose/{family['kinds'][row['kind']]}/{row['index']:04d}"
        assert name == event["id"]
        assert family["reasons"][row["reason"]] == recount.verdict[name]["reason"]
        assert row["parents"] == event["references"]
        born = recount.born.get(name)
        assert row["task"] == (born["task"]["id"] if born else "")
        assert row["admitted"] == int(bool(born and born["admitted"]))
        assert (family["forms"][row["form"]] if row["form"] >= 0 else None) == (born["trivial"] if born else None)


def test_a_task_has_its_rewards_and_the_marks_of_its_own_attempts(data, recount):
    for row in rows(data["family"]):
        name = f"{row['step']}/propose/{data['family']['kinds'][row['kind']]}/{row['index']:04d}"
        own = recount.own(name)
        assert (row["solved"], row["attempts"]) == (sum(map(recount.right, own)), len(own))
        assert row["reward"] == recount.reward.get(name)
        assert row["advantage"] == recount.advantage.get(name)
        if name in recount.born:
            intrinsic = recount.born[name]["intrinsic"]
            assert row["novelty"] == pytest.approx(intrinsic["novelty"], abs=1e-4)
            assert row["complexity"] == pytest.approx(intrinsic["complexity"], abs=1e-4)


def test_later_attempts_at_a_task_are_part_of_its_history(data, recount):
    found = sorted((task, *times) for task, history in data["family"]["later"].items() for times in history)
    expected = {}
    for e in recount.events:
        if e["event"] == "attempt" and e["id"].split("/")[3] == "0003":  # the log's place for older tasks
            key = (e["task"], e["step"], e["id"].split("/")[2])
            expected.setdefault(key, []).append(recount.right(e["id"]))
    assert found == sorted((task, step, 3, sum(marks), len(marks)) for (task, step, _), marks in expected.items())


def test_a_seed_that_no_event_tells_of_comes_from_the_seed_file(data):
    assert data["family"]["given"]["5eed5eed5eed5eed"]["data"] == {"program": "def f(x):\n    return x"}


# A run that was played for real


def test_the_report_agrees_with_what_a_run_wrote_of_itself(tmp_path):
    run, *_ = play(tmp_path, script, 2)
    steps = {step.step: step for step in analysed(run.path).steps}
    measured = [json.loads(text) for text in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in measured] == list(steps) == [1, 2]
    for record in measured:
        step = steps[record["step"]]
        for kind, said in record["kinds"].items():
            found = step.kinds[kind]
            assert (found.valid, found.solve_rate, found.learnability) == (
                said["valid"],
                said["solve_rate"],
                said["learnability"],
            )
            assert (found.reasons, found.answers) == (said["proposals"], said["answers"])
        for role, said in record["roles"].items():
            found = step.roles[role]
            assert (found.reward, found.tokens, found.unfinished) == (
                said["reward"],
                said["tokens"],
                said["unfinished"],
            )
        assert step.shapes / step.accepted == record["signal"]["distinct_shapes"]
        assert step.flat / step.rollouts == record["signal"]["zero_advantage"]
        assert sum(step.trivial.values()) / step.accepted == record["signal"]["trivial"]


# Logs that are not as they should be


def test_a_cut_off_last_line_is_left_for_later(run, tmp_path):
    copy = write_run(tmp_path)
    whole = (copy / "events.jsonl").read_text()
    (copy / "events.jsonl").write_text(whole + whole.splitlines()[0][:40])
    assert analysed(copy).data() == analysed(run).data()


def test_unknown_types_and_broken_lines_are_counted_and_change_nothing(run, tmp_path):
    copy = write_run(tmp_path)
    lines = (copy / "events.jsonl").read_text().splitlines(keepends=True)
    strange = [line({"event": "weather", "step": 1}), "{not json\n", "[1, 2]\n", line({"event": "verdict", "step": 9})]
    strange += [line({"event": "reward", "step": 1, "id": "1/propose/nothing/0000", "reward": 1.0}), '{"event": 3}\n']
    (copy / "events.jsonl").write_text("".join(lines[:90] + strange + lines[90:]))
    follower = Follower(copy)
    follower.poll()
    found = follower.analysis.data()
    assert follower.unreadable == 2
    assert found.pop("unknown")["weather"] == 1
    assert found["curves"] == analysed(run).data()["curves"]


def test_a_step_that_was_cut_off_is_left_out_of_the_curves_but_its_tasks_are_there(tmp_path):
    run = write_run(tmp_path, steps=3)
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    last = max(at for at, text in enumerate(lines) if '"event": "update"' in text)
    (run / "events.jsonl").write_text("".join(lines[:last]))
    follower = Follower(run)
    follower.poll()
    assert follower.analysis.unfinished == 3
    follower.analysis.close()
    found = follower.analysis.data()
    assert found["curves"]["step"] == [1, 2]
    assert max(found["family"]["columns"]["step"]) == 3


def test_a_log_read_in_pieces_is_the_log_read_at_once(run, tmp_path):
    copy = write_run(tmp_path)
    text = (copy / "events.jsonl").read_bytes()
    (copy / "events.jsonl").write_bytes(b"")
    follower = Follower(copy)
    for begin in range(0, len(text), 7001):
        with (copy / "events.jsonl").open("ab") as file:
            file.write(text[begin : begin + 7001])
        follower.poll()
    assert not follower.poll()
    assert follower.analysis.data() == analysed(run).data()


def test_a_run_that_was_cut_back_by_resuming_is_read_anew(tmp_path):
    run = write_run(tmp_path, steps=4)
    follower = Follower(run)
    follower.poll()
    whole = (run / "events.jsonl").read_text().splitlines(keepends=True)
    begin = next(at for at, text in enumerate(whole) if json.loads(text)["step"] == 3)
    (run / "events.jsonl").write_text("".join(whole[:begin]))
    assert follower.poll()
    assert [step.step for step in follower.analysis.steps] == [1, 2]


def test_half_a_surrogate_pair_and_nan_are_read(tmp_path):
    run = write_run(tmp_path, steps=2, program="  # \ud800")
    events = (run / "events.jsonl").read_text().replace('"entropy": 0.5', '"entropy": NaN')
    (run / "events.jsonl").write_text(events)
    analysis = analysed(run)
    assert [step.step for step in analysis.steps] == [1, 2]
    assert analysis.data()["curves"]["learner"]["entropy"][-1] is None


@pytest.mark.parametrize(
    "record", [{"seconds": {"step": 1.0}}, {"step": 1, "seconds": {"step": "x"}}, {"held_out": {"guess": None}}]
)
def test_metrics_that_are_none_are_counted_and_change_nothing(record):
    found = Analysis(texts=False)
    found.feed_metrics(record)
    assert (found.seconds, found.guess, found.unknown) == ({}, None, {"malformed": 1})


def test_a_type_that_is_no_text_is_counted_as_unknown():
    found = Analysis(texts=False)
    found.feed({"event": ["proposal"], "step": 1})
    assert found.unknown == {"['proposal']": 1}


def test_a_seed_file_that_somebody_spoilt_does_no_harm(tmp_path):
    run = write_run(tmp_path, steps=1)
    with (run / "seed.jsonl").open("a") as file:
        file.write('junk\n{"kind": "deduction"}\n')
    follower = Follower(run)
    follower.poll()
    assert follower.analysis.family.given.keys() == {"5eed5eed5eed5eed"}
    assert follower.analysis.unknown == {"malformed": 1}


def test_a_step_that_cannot_be_counted_leaves_the_others_as_they_are(tmp_path):
    run = write_run(tmp_path, steps=3)
    spoilt = {"event": "attempt", "step": 2, "id": "2/solve/deduction/no-number/0", "kind": "deduction", "task": "t"}
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    at = next(at for at, one in enumerate(lines) if '"event": "reward", "step": 2' in one)
    lines.insert(at, line(spoilt | {"text": "", "tokens": 1, "finished": True}))
    (run / "events.jsonl").write_text("".join(lines))
    found = analysed(run)
    assert [step.step for step in found.steps] == [1, 2, 3]
    assert set(found.family.columns["step"]) == {0, 1, 2, 3}
    assert found.unknown == {"malformed": 1}
