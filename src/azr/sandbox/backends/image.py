"""A Docker image of this machine's own Python interpreter, for hosts that cannot pull one from a registry.

The image holds the interpreter, its standard library and the shared libraries that these load: no shell, no package
manager, nothing else to misuse. It is streamed as a tar into `docker import`.
"""

import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from azr.sandbox.backends.container import summary
from azr.sandbox.base import SandboxError

LOCAL_IMAGE = "azr-sandbox:local"  # the name that `build_local_image` gives its image unless told otherwise
_LEFT_OUT = frozenset({"site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"})
_LINKS = ("usr/local/bin/python3", "usr/local/bin/python")


def build_local_image(name: str = LOCAL_IMAGE, *, docker: str = "docker") -> str:
    """Build an image from this process's interpreter in the Docker engine.

    Args:
        name: the image's name and tag; taken from an image that has it already.
        docker: the Docker command.

    Returns:
        the image's id, `sha256:...`.

    Raises:
        SandboxError: not on Linux, no Docker command or engine, or the engine refuses the image.
    """
    if sys.platform != "linux":
        raise SandboxError(
            "an image can be built from the local interpreter on Linux only; run: docker pull python:3.12-slim"
        )
    command = [docker, "import", "--change", "ENV PATH=/usr/local/bin", "--change", "USER 65534:65534", "-", name]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise SandboxError(
            f"cannot run {docker!r} ({error.strerror}); install Docker or choose another backend"
        ) from None
    with process:
        assert process.stdin is not None
        try:
            with tarfile.open(fileobj=process.stdin, mode="w|") as tar:
                _fill(tar)
        except BrokenPipeError:
            pass  # docker gave up early; its own words say why
        stdout, stderr = process.communicate()
    if process.returncode != 0:
        raise SandboxError(f"docker import failed: {summary(stderr)}")
    return stdout.decode().strip()


def _fill(tar: tarfile.TarFile) -> None:
    """Write the files, each under its own path, so that the interpreter finds its parts as here."""
    interpreter = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    files = {interpreter, *_stdlib_files(stdlib)}
    binaries = [interpreter, *(path for path in files if ".so" in path.suffixes)]
    for path in sorted(files | _shared_libraries(binaries)):
        tar.add(path.resolve(), arcname=str(path), recursive=False)
    for link in _LINKS:
        entry = tarfile.TarInfo(link)
        entry.type, entry.linkname = tarfile.SYMTYPE, str(interpreter)
        tar.addfile(entry)
    # Programs look for it; the container makes it read-only.
    entry = tarfile.TarInfo("tmp")
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
    tar.addfile(entry)
    passwd = b"nobody:x:65534:65534:nobody:/:/bin/false\n"
    entry = tarfile.TarInfo("etc/passwd")
    entry.size, entry.mode = len(passwd), 0o644
    tar.addfile(entry, io.BytesIO(passwd))


def _stdlib_files(stdlib: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(stdlib):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        yield from (Path(folder, file) for file in files)


def _shared_libraries(binaries: list[Path]) -> set[Path]:
    """Find every library that the dynamic loader would load for these files, and the loader itself."""
    listing = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    words = (word for line in listing.splitlines() if not line.endswith(":") for word in line.split())
    return {Path(word) for word in words if word.startswith("/")}
