"""What the wheel and the sdist contain, built as PyPI gets them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
DATA = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    (path,) = built.glob("*.whl")
    return set(ZipFile(path).namelist())


@pytest.mark.parametrize(
    "part",
    [
        "py.typed",
        "presets/demo.toml",
        "presets/mac-16gb.toml",
        "models/weights/nursery/model.safetensors",
        "models/weights/nursery/tokenizer.json",
        "models/weights/nursery-primes/model.safetensors",
        "models/weights/nursery-steps/model.safetensors",
        "domains/python/prompts/compact/propose.jinja",
        "domains/python/data/nursery-iid.jsonl",
        "domains/python/data/nursery-steps-8.jsonl",
        "evals/math/minerva.yaml",
        "report/page/report.html.jinja",
        "report/page/report.css",
        "report/page/js/main.js",
    ],
)
def test_the_wheel_has(part, wheel):
    assert f"azr/{part}" in wheel


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel):
    package = {str(path.relative_to(ROOT / "src")) for path in DATA}
    assert {name for name in wheel if ".dist-info/" not in name} == package


def test_the_wheel_installs_only_azr(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"azr"}
    assert not any("/tests/" in name or "nursery/__main__" in name for name in wheel)


def test_the_wheel_has_the_licence_and_the_command(built, wheel):
    (path,) = built.glob("*.whl")
    (entry_points,) = [name for name in wheel if name.endswith("entry_points.txt")]
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert "azr = azr.cli:main" in ZipFile(path).read(entry_points).decode()


def test_the_sdist_has_what_the_wheel_is_built_from_and_the_tests(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {str(path.relative_to(ROOT)) for path in DATA} | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert "tests/test_wheel.py" in names
    assert not any(name.startswith((".venv/", "dist/", "site/", "runs/")) for name in names)


def test_the_page_on_pypi_is_valid(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
