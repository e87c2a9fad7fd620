"""The Docker backend where there is no Docker: what it says, and what it does with a command that stands in for Docker's."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from azr.sandbox import DockerSandbox, Job, SandboxError
from azr.sandbox.backends.image import build_local_image


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Give the docker command, with an address where no engine listens."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    return "docker"


ONE = Job("def f(): return 1", ("",))


async def test_says_that_the_docker_command_is_missing() -> None:
    with pytest.raises(SandboxError, match="cannot run 'azr-no-docker': No such file or directory") as error:
        await DockerSandbox(docker="azr-no-docker").run(ONE)
    assert "\n" not in str(error.value)


async def test_says_that_no_engine_answers(no_engine: str) -> None:
    with pytest.raises(SandboxError, match="no Docker engine answers") as error:
        await DockerSandbox(docker=no_engine).run(ONE)
    assert "\n" not in str(error.value)


async def test_says_so_again_to_every_later_job(no_engine: str) -> None:
    box = DockerSandbox(docker=no_engine)
    for _ in range(2):
        with pytest.raises(SandboxError, match="no Docker engine answers"):
            await box.run(ONE)
    await box.close()


def test_an_image_cannot_be_built_without_the_docker_command() -> None:
    with pytest.raises(SandboxError, match="cannot run 'azr-no-docker'"):
        build_local_image(docker="azr-no-docker")


def test_an_image_cannot_be_built_without_an_engine(no_engine: str) -> None:
    with pytest.raises(SandboxError, match="docker import failed: "):
        build_local_image(docker=no_engine)


STAND_IN = """\
#!/bin/sh
# Runs a container's command as a process of this machine; the first container dies as soon as it is ready.
[ "$1" = run ] || exit 0
[ -e {folder}/died ] || {{ touch {folder}/died; echo "azr fork server ready"; exit 1; }}
while [ "$1" != -s ]; do shift; done
exec env -i PYTHONHASHSEED=1 {python} "$@"
"""


async def test_the_outcome_of_a_job_whose_container_died_is_disturbed(tmp_path: Path) -> None:
    command = tmp_path / "docker"
    command.write_text(STAND_IN.format(folder=tmp_path, python=sys.executable))
    command.chmod(0o755)
    box = DockerSandbox(docker=str(command), workers=1)
    found = [(await box.run(ONE))[0] for _ in range(2)]
    await box.close()
    assert [(outcome.value, outcome.disturbed) for outcome in found] == [("1", True), ("1", False)]
