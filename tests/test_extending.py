"""Every diff of docs/extending.md is applied to a copy of the package, and the copy does what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.installed import put
from tests.runs import azr, events, metrics, only_run, tiny_config

ROOT = Path(__file__).parents[1]
EXTRAS = ROOT / "examples" / "azr-extras"
PAGE = (ROOT / "docs" / "extending.md").read_text()


class Copy:
    """A copy of the package with the diffs of one section of the page."""

    def __init__(self, folder: Path, heading: str) -> None:
        self.folder, self.section = folder, section(heading)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.call("git", "init", "--quiet")  # within another repository, git would pass over files in silence
        for number, diff in enumerate(blocks(self.section, "diff")):
            path = folder / f"{number}.diff"
            path.write_text(diff)
            self.call("git", "apply", str(path))
        self._install()

    @property
    def assignments(self) -> list[str]:
        """The settings in the section's `azr train demo`."""
        (command,) = re.findall(r"^azr train demo (.*)$", "".join(blocks(self.section, "sh")), re.MULTILINE)
        return command.split()

    def azr(self, *words: object) -> str:
        """What the copy's command prints."""
        return self.call(sys.executable, "-m", "azr", *map(str, words))

    def train(self, model: Path, *more: str) -> Path:
        """Play as the section says, with the small configuration of the tests in place of the demo's."""
        self.azr("train", tiny_config(self.folder, model), *self.assignments, *more)
        return only_run(self.folder / "runs")

    def _install(self) -> None:
        """Put the copy's entry points beside it, as an installation does; the first on the path are the ones in force."""
        project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        meta = self.folder / "src" / f"azr-{project['version']}.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: azr\nVersion: {project['version']}\n")
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        ]
        (meta / "entry_points.txt").write_text("\n".join(groups))

    def call(self, *command: str) -> str:
        """What a command prints that sees the copy first; it must not fail."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout


def section(heading: str) -> str:
    """What stands between a heading and the next one of its level."""
    (found,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def of(run: Path, *names: str) -> list[dict[str, Any]]:
    return [event for event in events(run) if event["event"] in names]


def texts(run: Path) -> list[str]:
    return [event["text"] for event in of(run, "proposal", "attempt")]


@pytest.mark.parametrize("heading", ["A sandbox backend", "A generator", "A learner"])
def test_the_code_on_the_page_is_in_the_projects_style(tmp_path, heading):
    copy = Copy(tmp_path, heading)
    copy.call(sys.executable, "-m", "ruff", "check", "--no-cache", "src")
    copy.call(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", "src")


def test_the_page_shows_the_examples_own_code():
    found = blocks(section("An algorithm") + section("A reward"), "python")
    assert len(found) == 3
    assert all(block in (EXTRAS / "azr_extras.py").read_text() for block in found)
    assert all(block in (EXTRAS / "pyproject.toml").read_text() for block in blocks(PAGE, "toml"))


@pytest.mark.slow
def test_the_plugged_in_algorithm_and_rewards_train_and_are_explained(tmp_path, apprentice):
    site = {"PYTHONPATH": str(put(EXTRAS, tmp_path / "site"))}
    words = re.findall(r"^azr train demo (.*)$", PAGE, re.MULTILINE)
    extras = " ".join(line for line in words if "role-baseline" in line or "plugins" in line).split()
    told = azr("train", tiny_config(tmp_path, apprentice), *extras, cwd=tmp_path, env=os.environ | site, fresh=True)
    assert told.returncode == 0, told.stderr
    run = only_run(tmp_path / "runs")
    rewards = {event["id"]: event["reward"] for event in of(run, "reward")}
    advantages = {event["id"]: event["advantage"] for event in of(run, "advantage")}
    means = {role: fmean(r for name, r in rewards.items() if f"/{role}/" in name) for role in ("propose", "solve")}
    assert len(set(rewards.values())) > 1
    assert advantages == pytest.approx({name: r - means[name.split("/")[1]] for name, r in rewards.items()})
    brief = [event for event in of(run, "attempt") if event["id"] in rewards and event["intrinsic"]["brevity"]]
    assert brief
    assert all(rewards[one["id"]] == pytest.approx(1 + 0.1 * one["intrinsic"]["brevity"]) for one in brief)
    shown = azr("explain", run, brief[0]["id"], cwd=tmp_path, env=os.environ | site | {"COLUMNS": "200"}, fresh=True)
    assert "A = r - mu_role" in shown.stdout
    assert "brevity +0." in shown.stdout


@pytest.mark.slow
def test_the_backend_runs_jobs_and_records_them(tmp_path, apprentice):
    copy = Copy(tmp_path, "A sandbox backend")
    copy.azr("sandbox", "doctor", "backend=recorded", "options.file=doctor.jsonl")
    run = copy.train(apprentice)
    accepted = [event["task"]["data"] for event in of(run, "task")]
    recorded = {job["program"] for job in map(json.loads, (tmp_path / "jobs.jsonl").read_text().splitlines())}
    assert (tmp_path / "doctor.jsonl").stat().st_size
    assert accepted
    assert all(any(data["program"] in program for program in recorded) for data in accepted)


@pytest.mark.slow
def test_the_generator_draws_a_run_from_the_models_own_distribution(tmp_path, apprentice):
    copy = Copy(tmp_path, "A generator")
    run = copy.train(apprentice)
    assert azr("train", tmp_path / "tiny.toml", "steps=1", "output_dir=local", cwd=tmp_path).returncode == 0
    local = only_run(tmp_path / "local")
    assert texts(run) != texts(local), "the local generator was used"
    assert metrics(run)[-1]["learner"]["mismatch_kl"] < 1e-6
    assert {event["task"]["kind"] for event in of(run, "task")} >= {"deduction", "abduction"}


@pytest.mark.slow
def test_the_learner_skips_rollouts_without_an_advantage(tmp_path, apprentice):
    copy = Copy(tmp_path, "A learner")
    run = copy.train(apprentice)
    advantages = {event["id"]: event["advantage"] for event in of(run, "advantage")}
    lengths = {event["id"]: event["tokens"] for event in of(run, "proposal", "attempt")}
    skipped = [name for name, advantage in advantages.items() if advantage == 0]
    learner = metrics(run)[-1]["learner"]
    assert 0 < learner["skipped"] == len(skipped) < len(advantages)
    assert learner["tokens"] == sum(lengths[name] for name in advantages if name not in skipped)
    assert "advantage" in copy.azr("explain", run, skipped[0])
