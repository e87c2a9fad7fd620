"""Whole sweeps by the public command: the page against numbers computed by hand, kills, and what is not run twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import pytest

from azr.run.directory import RunDirectory
from azr.sweep.runner import Machine
from azr.train.start import resolve
from tests.report.test_build import data_of
from tests.runs import azr, metrics
from tests.test_cli import error_line, wait_for

SETTINGS = ("algorithm.name=trr++", "algorithm.name=grpo")
SMALL = ["steps=2", "evaluation.tasks=10", "evaluation.every=1", "selfplay.batch_size=3", "selfplay.samples=3"]
STUDENT = {2: 12.7062, 3: 4.3027}
"""Two-sided 95 % quantile of Student's t by number of runs, from a printed table."""


def command(folder: Path, seeds: str, words: list[str]) -> list[str]:
    grid = "algorithm.name=trr++,grpo"
    return ["sweep", "primes", "--seeds", seeds, "--out", str(folder), "--jobs", "2", grid, "sandbox.workers=1", *words]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", "azr", *words], stdout=file, stderr=file)


def offspring(process: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of the runs of a sweep."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def run_of(folder: Path, setting: str, seed: int) -> Path:
    (run,) = (folder / setting.replace("=", "-") / str(seed)).glob("primes-*")
    return run


def processes(folder: Path, setting: str, seed: int) -> int:
    """How many processes have worked at a run."""
    log = (folder / setting.replace("=", "-") / str(seed) / "log.txt").read_text()
    return log.count("run directory: ")


def by_hand(values: list[float]) -> dict[str, object]:
    half = STUDENT[len(values)] * stdev(values) / len(values) ** 0.5
    return {
        "mean": pytest.approx(fmean(values)),
        "interval": pytest.approx([fmean(values) - half, fmean(values) + half], abs=1e-5),
    }


def check_page(folder: Path, seeds: range) -> None:
    """The page's table and bands equal numbers computed from the six metrics.jsonl."""
    data = data_of((folder / "report.html").read_text())["sweep"]
    ends = {}
    for setting in SETTINGS:
        for seed in seeds:
            found = [line["held_out"]["marks"] for line in metrics(run_of(folder, setting, seed)) if "held_out" in line]
            ends[setting, seed] = [
                fmean(sum(marks) / len(marks) for marks in at.values()) for at in (found[0], found[-1])
            ]
    gains = {key: after - before for key, (before, after) in ends.items()}
    for setting, row in zip(SETTINGS, data["table"], strict=True):
        assert (row["setting"], row["runs"]) == (setting, len(seeds))
        assert row["before"] == pytest.approx(fmean(ends[setting, seed][0] for seed in seeds))
        assert row["after"] == by_hand([ends[setting, seed][1] for seed in seeds])
        assert row["gain"] == by_hand([gains[setting, seed] for seed in seeds])
    pairs = [gains[SETTINGS[1], seed] - gains[SETTINGS[0], seed] for seed in seeds]
    assert data["table"][1]["difference"] == by_hand(pairs) | {"pairs": len(seeds)}
    last = [row for row in data["figures"][0]["rows"] if row["series"] == SETTINGS[1]][-1]
    assert last["value"] == data["table"][1]["after"]["mean"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the runs of a sweep in /proc")
@pytest.mark.slow
def test_a_sweep_that_is_killed_is_finished_by_the_same_command_and_runs_nothing_twice(tmp_path):
    folder = tmp_path / "sweep"
    words = command(folder, "0-1", SMALL)
    first = start(words, tmp_path / "first.txt")
    wait_for(lambda: len(list(folder.glob("*/0/primes-*/checkpoints/00*"))) == 2)
    killed = offspring(first)[0]
    first.kill()  # the sweep and one of its runs are killed, the other run goes on
    os.kill(killed, signal.SIGKILL)
    first.wait()
    again = azr(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    for setting in SETTINGS:
        for seed in range(2):
            assert [line["step"] for line in metrics(run_of(folder, setting, seed)) if "kinds" in line] == [1, 2]
    worked = [processes(folder, setting, seed) for setting in SETTINGS for seed in range(2)]
    assert sorted(worked) in ([1, 1, 1, 2], [1, 1, 1, 1])  # at most the killed run has seen a second process
    check_page(folder, range(2))
    assert "report: " in again.stdout

    changed = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/primes-*/*.jsonl")}
    third = azr(*words, cwd=tmp_path)
    assert third.stdout.count("finished before") == 4
    assert {path: path.stat().st_mtime_ns for path in changed} == changed


@pytest.mark.slow
def test_two_settings_and_three_seeds_of_primes_equal_numbers_computed_by_hand_after_a_kill(tmp_path):
    folder = tmp_path / "sweep"
    words = command(folder, "0-2", ["steps=20", "checkpoint.every=5"])
    first = start(words, tmp_path / "first.txt")

    def ended() -> set[Path]:
        return {path.parent.parent for path in folder.glob("*/*/primes-*/model/README.md")}

    def saved() -> set[Path]:
        return {path.parent.parent for path in folder.glob("*/*/primes-*/checkpoints/000005")}

    wait_for(lambda: ended() and saved() - ended(), seconds=500)
    runs = offspring(first)
    first.kill()
    for pid in runs:
        os.kill(pid, signal.SIGKILL)
    first.wait()
    done, left = ended(), saved() - ended()
    before = {path: (path / "events.jsonl").stat().st_mtime_ns for path in done}
    again = azr(*words, cwd=tmp_path, timeout=590)
    assert again.returncode == 0, again.stderr
    assert before == {path: (path / "events.jsonl").stat().st_mtime_ns for path in done}
    for run in left:
        assert "resumed after step" in (run.parent / "log.txt").read_text()
    for setting in SETTINGS:
        for seed in range(3):
            steps = [line["step"] for line in metrics(run_of(folder, setting, seed)) if "kinds" in line]
            assert steps == list(range(1, 21))
    check_page(folder, range(3))


@pytest.mark.slow
def test_ctrl_c_stops_every_run_with_its_state_saved(tmp_path):
    folder = tmp_path / "sweep"
    words = command(folder, "0", ["steps=5000", "evaluation.tasks=0"])
    sweep = start(words, tmp_path / "said.txt")
    wait_for(lambda: len(list(folder.glob("*/0/primes-*/metrics.jsonl"))) == 2)
    wait_for(lambda: all(path.stat().st_size for path in folder.glob("*/0/primes-*/metrics.jsonl")))
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=120) == 3
    for setting in SETTINGS:
        run = run_of(folder, setting, 0)
        last = max(line["step"] for line in metrics(run))
        assert not RunDirectory(run).held()
        assert (run / "checkpoints" / f"{last:06d}" / "state.json").is_file()
    assert "the same command continues it" in (tmp_path / "said.txt").read_text()


def test_a_setting_that_is_wrong_is_one_line_before_anything_is_written(tmp_path):
    line = error_line(azr("sweep", "primes", "algorithm.name=trr++,grpp", cwd=tmp_path))
    assert "algorithm.name = 'grpp'" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_fails_is_told_with_its_last_line_and_the_others_finish(tmp_path):
    words = [
        "sweep",
        "primes",
        "--seeds",
        "0",
        "--out",
        "sweep",
        "--jobs",
        "1",
        "selfplay.seed_file=null,missing.jsonl",
        *SMALL,
    ]
    done = azr(*words, cwd=tmp_path)
    line = error_line(done)
    assert "1 of 2 runs failed; the first is selfplay.seed_file=missing.jsonl, seed 0: azr: error:" in line
    (row,) = data_of((tmp_path / "sweep" / "report.html").read_text())["sweep"]["table"]
    assert row["setting"] == "selfplay.seed_file=null"


@pytest.mark.parametrize(
    ("cores", "jobs", "words", "shares"),
    [
        (8, 2, ["model.name=org/large"], ["threads=4", "sandbox.workers=4"]),
        (8, 2, [], ["threads=1", "sandbox.workers=4"]),
        (8, 2, ["threads=2"], ["sandbox.workers=4"]),
        (2, 5, ["model.name=org/large"], ["threads=1", "sandbox.workers=1"]),
        (8, 1, ["model.name=org/large"], []),
    ],
)
def test_runs_side_by_side_share_the_cores_unless_their_configuration_says_otherwise(cores, jobs, words, shares):
    assert Machine(cores, [], jobs).words(resolve("demo", words)) == shares


def test_every_slot_has_a_gpu_of_its_own():
    machine = Machine(cores=8, gpus=["2", "5"], jobs=2)
    assert [machine.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["2", "5"]


def test_the_report_of_a_sweep_can_be_written_again(tmp_path):
    from azr.sweep.folder import prepare
    from azr.sweep.grid import parse

    prepare(tmp_path / "sweep", parse(["primes"], ["learner.lr=1e-4,2e-4"], "0-1"))
    done = azr("report", "sweep", "--out", "page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = data_of((tmp_path / "page.html").read_text())["sweep"]["runs"]
    assert [(run["setting"], run["seed"], run["state"]) for run in runs] == [
        (f"learner.lr={rate}", seed, "not started") for rate in ("1e-4", "2e-4") for seed in (0, 1)
    ]
    assert re.search(r"<title>sweep · azr report", (tmp_path / "page.html").read_text())
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["source"] == "primes"
