"""The image of the Dockerfile builds, and a container of it trains, resumes and jails programs. On a real engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.bases import ROOT, build, build_base
from tests.sandbox.containers import docker, docker_image

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SMALL = ("selfplay.batch_size=2", "selfplay.seed_factor=1", "selfplay.samples=2", "evaluation.tasks=0", "seed=1")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The target `cpu`, built without a network."""
    docker_image()  # skips or fails where there is no engine
    base, name = f"azr-base:test-{os.getpid()}", f"azr:test-{os.getpid()}"
    try:
        build_base(base, tmp_path_factory.mktemp("base"))
        build(ROOT, name, "--target=cpu", f"--build-arg=BASE={base}", "--build-arg=TORCH_INDEX=")
        yield name
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name, base], capture_output=True, check=False)


def in_container(image: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run azr in a container without a network."""
    command = ["docker", "run", "--rm", "--network=none", *options, image, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_it_does_not_run_as_root(image):
    assert docker("image", "inspect", "--format", "{{.Config.User}}", image) == "10001:10001"


def test_it_trains_the_included_model_and_continues_the_run(image, tmp_path):
    tmp_path.chmod(0o777)  # whoever runs the tests need not be the image's user
    options = (f"--volume={tmp_path}:/work/runs", "--entrypoint=azr-run")
    first = in_container(image, "/work/runs/one", "demo", "steps=1", *SMALL, options=options)
    assert first.returncode == 0, first.stdout
    second = in_container(image, "/work/runs/one", "demo", "steps=2", *SMALL, options=options)
    assert second.returncode == 0, second.stdout
    assert "resumed after step 1" in second.stdout
    (run,) = Path(tmp_path, "one").iterdir()
    assert (run / "model/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("tier", "options"),
    [
        ("seccomp", ()),
        ("seccomp", ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")),
        ("full", ("--security-opt=seccomp=unconfined",)),
    ],
    ids=["by default", "without rights", "without Docker's filter"],
)
def test_every_protection_of_the_jail_holds_in_a_container(image, tier, options):
    done = in_container(image, "sandbox", "doctor", f"tier={tier}", "workers=1", options=options)
    assert done.returncode == 0, done.stdout


def test_dockers_own_filter_refuses_the_full_tier(image):
    done = in_container(image, "sandbox", "doctor", "tier=full")
    assert done.returncode == 2
    assert "namespaces refused" in done.stdout
