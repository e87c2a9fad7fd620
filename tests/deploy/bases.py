"""A base image for azr's Dockerfile where no registry can be reached: this machine's Python, a shell, and all wheels."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from azr.sandbox.backends.image import build_local_image

ROOT = Path(__file__).parents[2]

_DOCKERFILE = """\
ARG PYTHON
FROM ${PYTHON}
USER 0:0
COPY root/ /
RUN ["python3", "-m", "ensurepip"]
"""

_LIBRARIES = (
    "libstdc++.so.6 libgcc_s.so.1 libm.so.6 libdl.so.2 librt.so.1 libpthread.so.0 libutil.so.1 libz.so.1".split()
)
"""What the wheels may load and any Debian has."""


def build_base(name: str, folder: Path) -> None:
    """Build the image `name` from the interpreter image of the sandbox; a build on it needs no network.

    Args:
        name: its name and tag.
        folder: an empty folder for the build context.
    """
    python = f"{name}-python"
    build_local_image(python)
    try:
        root = folder / "root"
        _wheels(root / "wheels")
        (root / "etc").mkdir()
        (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        _shell(root)
        ensurepip = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}), "ensurepip")
        shutil.copytree(ensurepip, root / ensurepip.relative_to("/"))
        (folder / "Dockerfile").write_text(_DOCKERFILE)
        build(folder, name, f"--build-arg=PYTHON={python}")
    finally:
        subprocess.run(["docker", "image", "rm", "--force", python], capture_output=True, check=False)


def build(context: Path, name: str, *options: str) -> None:
    """Run `docker build` without a network; what it prints is shown if it fails."""
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}  # BuildKit is a package of its own, which Debian has not
    command = ["docker", "build", "--network=none", "--force-rm", f"--tag={name}", *options, str(context)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def _wheels(folder: Path) -> None:
    """Fetch the wheels that the image installs, and those that build azr's own."""
    pip = sys.executable if importlib.util.find_spec("pip") else sys._base_executable  # type: ignore[attr-defined]
    options = ("-c", str(ROOT / "constraints.txt"), "-d", str(folder))
    subprocess.run([pip, "-m", "pip", "download", "-q", *options, str(ROOT), "hatchling"], check=True)


def _shell(root: Path) -> None:
    """Put `/bin/sh` there, and the libraries that it and the wheels load."""
    shell = Path("/bin/sh").resolve()
    (root / "bin").mkdir()
    shutil.copy2(shell, root / "bin/sh")
    listing = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout.split()
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {Path(line.split()[-1]) for line in known if line.split()[0] in _LIBRARIES and "x86-64" in line}
    for library in found | {Path(word) for word in listing if word.startswith("/")}:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library.resolve(), target)
