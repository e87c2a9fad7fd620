"""Each file of deploy/ is accepted by the parser of the system that it is for."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_PARSE = """\
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
print(task.name, task.num_nodes, any(one.use_spot for one in task.resources), *task.storage_mounts)
"""


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the validators, which need other versions than azr does."""
    folder = tmp_path_factory.mktemp("validators")
    venv.create(folder, with_pip=True)
    options = ("--quiet", "--disable-pip-version-check", "-r", str(DEPLOY / "validators.txt"))
    subprocess.run([folder / "bin/python", "-m", "pip", "install", *options], check=True)
    return folder / "bin"


def accepted(*command: str | Path) -> str:
    """Run a validator in an empty home; what it says is shown if it refuses the file."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_hadolint_accepts_the_dockerfile(bin_folder):
    accepted(bin_folder / "hadolint", "Dockerfile")


def test_shellcheck_accepts_the_scripts(bin_folder):
    accepted(bin_folder / "shellcheck", "deploy/azr-run", *sorted((DEPLOY / "slurm").iterdir()))


def test_kubernetes_accepts_the_manifests(bin_folder):
    accepted(bin_folder / "kubernetes-validate", "--strict", *sorted((DEPLOY / "kubernetes").iterdir()))


@pytest.mark.parametrize(("name", "nodes"), [("train", 1), ("train-nodes", 2)])
def test_sky_accepts_the_tasks(bin_folder, name, nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    said = accepted(bin_folder / "python", "-c", _PARSE, DEPLOY / f"skypilot/{name}.yaml")
    assert said.splitlines()[-1].split()[1:] == [str(nodes), "True", "/runs"]
