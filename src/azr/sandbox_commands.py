"""The commands `azr sandbox doctor`, `azr sandbox image` and `azr sandbox serve`."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from azr.errors import UserError
from azr.models.threads import cores

if TYPE_CHECKING:
    from rich.table import Table

    from azr.config import SandboxConfig

sandbox_app = typer.Typer(help="The sandbox in which the model's programs run.", no_args_is_help=True)

Settings = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]

_WAITING = 4
"""Jobs that a server takes for each of its workers, so that none of them waits for the network."""


@sandbox_app.command()
def doctor(words: Settings = None) -> None:
    """Test which protections hold on this machine; exit code 1 if the configured backend lacks one."""
    from rich.console import Console

    config, console, sound = _config(words or []), Console(), True
    if config.backend == "remote":
        console.print(asyncio.run(_servers(config)))
    for url in config.url if config.backend == "remote" else (None,):
        alone = config if url is None else config.model_copy(update={"url": (url,)})
        table, holds = asyncio.run(_protections(alone))
        console.print(table)
        sound = sound and holds
    raise typer.Exit(0 if sound else 1)


@sandbox_app.command()
def image(name: Annotated[str, typer.Argument(help="Name of the image.")] = "azr-sandbox:local") -> None:
    """Build a Docker image for backend = docker from this machine's Python, if none can be pulled."""
    from azr.sandbox.backends.image import build_local_image

    print(f"{name} {build_local_image(name)}")
    print(f"use it with: sandbox.backend=docker sandbox.image={name}")


@sandbox_app.command()
def serve(
    words: Settings = None,
    host: Annotated[str, typer.Option(help="Address to listen on; whoever reaches it may run programs.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8090,
    backend: Annotated[str | None, typer.Option(help="Sandbox of this machine: backend=B.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that run programs at once.", show_default="one per core")
    ] = None,
    max_wall_seconds: Annotated[float, typer.Option(min=0.1, help="Longest time that a job may ask for.")] = 600.0,
    max_memory_mb: Annotated[int, typer.Option(min=1, help="Most memory that a job may ask for.")] = 16384,
) -> None:
    """Serve this machine's sandbox over HTTP, to runs with sandbox.backend=remote sandbox.url=http://HOST:PORT."""
    try:
        from azr.sandbox import serve as serving
    except ImportError as error:
        raise UserError(
            f"azr sandbox serve needs the extra `sandbox-server` ({error}): pip install 'azr[sandbox-server]'"
        ) from error
    from azr.sandbox.base import JOB_BYTES, Limits
    from azr.sandbox.factory import make_sandbox
    from azr.sandbox.protocol import TOKEN_VARIABLE

    options = {"backend": backend, "workers": workers}
    config = _config([*(words or []), *(f"{key}={value}" for key, value in options.items() if value is not None)])
    if config.backend == "remote":
        raise UserError("azr sandbox serve serves a sandbox of this machine; name another backend than remote")
    token = os.environ.get(TOKEN_VARIABLE, "")
    server = serving.SandboxServer(
        make_sandbox(**config.choice, memo=0),
        backend="local" if config.backend == "auto" else config.backend,
        capacity=_WAITING * (config.workers or cores()),
        most=Limits(max_wall_seconds, math.ceil(max_wall_seconds), max_memory_mb * 2**20, JOB_BYTES, 1000),
        token=token,
        allow_unsafe=config.allow_unsafe,
    )
    serving.serve(server, host, port, protected=bool(token))


def _config(assignments: Sequence[str]) -> SandboxConfig:
    """The section `sandbox`, from assignments to its keys with or without its name, such as `backend=docker`."""
    from azr import settings
    from azr.config import SandboxConfig

    tree = settings.override({}, [assignment.removeprefix("sandbox.") for assignment in assignments])
    return settings.check(SandboxConfig, tree, source="sandbox")


async def _protections(config: SandboxConfig) -> tuple[Table, bool]:
    """Try every protection of a sandbox; the result, and whether all hold."""
    from rich.table import Table

    from azr.sandbox.doctor import doctor
    from azr.sandbox.factory import make_sandbox

    sandbox = make_sandbox(**config.choice)
    try:
        checks = await doctor(sandbox)
    finally:
        await sandbox.close()
    at = f" at {config.url[0]}" if config.backend == "remote" else ""
    table = Table("protection", "holds", "tried", "found", title=f"sandbox.backend = {config.backend}{at}")
    for check in checks:
        table.add_row(check.name, "yes" if check.holds else "NO", check.tried, check.found)
    return table, all(check.holds for check in checks)


async def _servers(config: SandboxConfig) -> Table:
    """What the servers of a remote sandbox are.

    Raises:
        UserError: one does not answer, or must not be used.
    """
    from rich.table import Table

    from azr.sandbox.backends.remote import RemoteSandbox
    from azr.sandbox.factory import make_sandbox

    sandbox = make_sandbox(**config.choice, memo=0)
    assert isinstance(sandbox, RemoteSandbox)
    try:
        servers = await sandbox.meet()
    finally:
        await sandbox.close()
    if silent := sorted(set(config.url).difference(server.url for server in servers)):
        raise UserError(f"no sandbox server answers at {', '.join(silent)}; start it, or take it out of sandbox.url")
    table = Table("server", "kind", "Python", "jobs at once", "isolation", title="sandbox servers")
    for server in servers:
        table.add_row(server.url, server.kind, server.python, str(server.capacity), server.isolation)
    return table
