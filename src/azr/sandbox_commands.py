"""The commands `azr sandbox doctor` and `azr sandbox image`."""

from typing import Annotated

import typer

sandbox_app = typer.Typer(help="The sandbox in which the model's programs run.", no_args_is_help=True)


@sandbox_app.command()
def doctor(
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)] = None,
) -> None:
    """Test which protections hold on this machine; exit code 1 if the configured backend lacks one."""
    from azr.train.start import examine_sandbox

    raise typer.Exit(examine_sandbox(words or []))


@sandbox_app.command()
def image(name: Annotated[str, typer.Argument(help="Name of the image.")] = "azr-sandbox:local") -> None:
    """Build a Docker image for backend = docker from this machine's Python, if none can be pulled."""
    from azr.sandbox.backends.image import build_local_image

    print(f"{name} {build_local_image(name)}")
    print(f"use it with: sandbox.backend=docker sandbox.image={name}")
