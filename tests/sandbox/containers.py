"""Real engines and servers for the tests of the Docker and remote backends."""

from __future__ import annotations

import atexit
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from azr.sandbox import SandboxError
from azr.sandbox.backends.image import build_local_image
from tests.json_server import served_by


def docker(*arguments: str) -> str:
    """Run a docker command and give what it prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@cache
def _image() -> tuple[str, str]:
    """Give an image's name and why there is none: one of the two is empty."""
    # A name of this process's own, so that its containers can be told from all others.
    name = f"azr-sandbox:test-{os.getpid()}"
    try:
        build_local_image(name)
    except SandboxError as error:
        return "", f"no Docker engine (`.ci/docker-engine` starts one): {error}"
    atexit.register(subprocess.run, ["docker", "image", "rm", "--force", name], capture_output=True)
    return name, ""


def docker_image() -> str:
    """Give an image's name; where there is no engine skip the test, or, with AZR_REQUIRE_DOCKER=1, fail it."""
    name, missing = _image()
    if missing and os.environ.get("AZR_REQUIRE_DOCKER") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return name


def containers(image: str) -> list[str]:
    """Give the ids of the running containers of an image."""
    return docker("ps", "--quiet", "--filter", f"ancestor={image}").split()


@contextmanager
def fusion_server(*options: str) -> Iterator[str]:
    """Run a server that speaks SandboxFusion's API, in a process of its own, and give its address."""
    with served_by("tests.sandbox.fusion_server", *options) as url:
        yield url


def asked(url: str) -> int:
    """Give a number that the server tells of itself."""
    with urllib.request.urlopen(url) as answer:
        return int(answer.read())
