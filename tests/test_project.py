"""The files that GitHub, PyPI and pre-commit read: their schemas, the rights of workflows, and the versions they name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from azr import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"})
SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "vendor.github-workflows"),
    **dict.fromkeys(FORMS, "vendor.github-issue-forms"),
    ROOT / ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    ROOT / ".github/dependabot.yml": "vendor.dependabot",
    ROOT / "CITATION.cff": "vendor.citation-file-format",
}
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def jobs() -> list[tuple[str, dict]]:
    return [(f"{path.stem}.{name}", job) for path in WORKFLOWS for name, job in parsed(path)["jobs"].items()]


def steps() -> list[dict]:
    return [step for _, job in jobs() for step in job["steps"]]


@pytest.mark.parametrize("path", SCHEMAS, ids=name_of)
def test_a_file_follows_its_schema(path):
    result = CliRunner().invoke(
        check_jsonschema, ["--builtin-schema", SCHEMAS[path], "--force-filetype", "yaml", str(path)]
    )
    assert result.exit_code == 0, result.output


def test_every_yaml_file_of_github_is_checked_against_a_schema():
    assert set((ROOT / ".github").rglob("*.yml")) <= set(SCHEMAS)


def test_every_job_has_a_time_limit():
    assert [name for name, job in jobs() if "timeout-minutes" not in job] == []


def test_actions_are_pinned_to_full_versions():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert [action for action in used if not re.search(r"[@:]v?\d+\.\d+\.\d+$", action)] == []


def test_no_job_may_write_to_the_repository_and_only_publishing_gets_an_identity():
    for path in WORKFLOWS:
        assert parsed(path)["permissions"] in ({}, {"contents": "read"})
    rights = {name: job["permissions"] for name, job in jobs() if "permissions" in job}
    assert rights == {"release.build": {"contents": "read"}, "release.publish": {"id-token": "write"}}


def test_publishing_follows_the_build_of_a_tag_in_an_environment_and_needs_no_secret():
    path = ROOT / ".github/workflows/release.yml"
    workflow = parsed(path)
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert workflow["jobs"]["publish"]["environment"]
    assert "secrets." not in path.read_text()


def test_no_expression_stands_in_a_shell_command():
    # GitHub pastes its value into the script, where a tag such as `v$(...)` would run.
    assert [step["run"] for step in steps() if "${{" in step.get("run", "")] == []


def test_scripts_and_folders_that_workflows_run_are_there():
    paths = {word for step in steps() for word in re.findall(r"(?:\.ci|tests)/[\w/.-]+", step.get("run", ""))}
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("tool", ["ruff", "check-jsonschema"])
def test_pre_commit_runs_the_pinned_version_of(tool):
    repos = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    revisions = [repo["rev"].removeprefix("v") for repo in repos if tool in repo["repo"].split("/")[-1]]
    assert revisions == [PINNED[tool]]


def test_all_files_name_the_same_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = parsed(ROOT / "CITATION.cff")
    (version, date), *_ = re.findall(r"^## (\d+\.\d+\.\d+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert {project["version"], citation["version"], version} == {__version__}
    assert str(citation["date-released"]) == date
