"""The one place that turns the configuration's words into a sandbox."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from azr.sandbox.base import Sandbox, SandboxError
from azr.sandbox.memo import MemoSandbox

if TYPE_CHECKING:
    from azr.sandbox.host.local import Tier

Backend = Literal["auto", "local", "docker", "remote", "unsafe"]


def make_sandbox(
    *,
    backend: Backend = "auto",
    workers: int | None = None,
    tier: Tier = "auto",
    image: str = "python:3.12-slim",
    url: str | None = None,
    allow_unsafe: bool = False,
    memo: int = 4096,
) -> Sandbox:
    """Make the sandbox that a configuration asks for. Nothing is started before the first job.

    Args:
        backend: "auto" is "local" on Linux and an error elsewhere: what protects less is never chosen silently.
        workers: jobs that run at once; None for one a core, on a remote server for 64.
        tier: of the local sandbox.
        image: of the Docker sandbox.
        url: of the remote sandbox's server.
        allow_unsafe: whether "unsafe" may be used.
        memo: how many jobs' outcomes are remembered; 0 runs every job.

    Raises:
        SandboxError: the backend cannot be had with these settings; what to do instead.
    """
    sandbox = _backend(backend, workers, tier, image, url, allow_unsafe)
    return MemoSandbox(sandbox, entries=memo) if memo else sandbox


def _backend(
    backend: Backend, workers: int | None, tier: Tier, image: str, url: str | None, allow_unsafe: bool
) -> Sandbox:
    # Backends are imported where they are chosen: each needs things that other systems do not have.
    match backend:
        case "docker":
            from azr.sandbox.backends.docker import DockerSandbox

            return DockerSandbox(image=image, workers=workers)
        case "remote":
            return _remote(url, workers)
        case "unsafe":
            from azr.sandbox.backends.unsafe import UnsafeSubprocessSandbox

            return UnsafeSubprocessSandbox(workers=workers, allow_unsafe=allow_unsafe)
        case "auto" | "local" if sys.platform == "linux":
            from azr.sandbox.host.local import LocalSandbox

            return LocalSandbox(workers=workers, tier=tier)
        case "auto" | "local":
            raise SandboxError(
                f"the local sandbox needs Linux and this is {sys.platform}: set sandbox.backend = 'docker', or, for "
                "development only, sandbox.backend = 'unsafe' with sandbox.allow_unsafe = true"
            )
    raise SandboxError(f"sandbox.backend = {backend!r} is none of auto, local, docker, remote and unsafe")


def _remote(url: str | None, workers: int | None) -> Sandbox:
    if url is None:
        raise SandboxError("sandbox.backend = 'remote' needs sandbox.url, the address of a SandboxFusion server")
    from azr.sandbox.backends.remote import RemoteSandbox

    return RemoteSandbox(url=url, connections=workers or 64)
