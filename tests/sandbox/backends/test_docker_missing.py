"""What the Docker backend says where there is no Docker: these tests need none."""

from __future__ import annotations

import shutil
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
