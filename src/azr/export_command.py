"""The command `azr export`."""

from pathlib import Path
from typing import Annotated

import typer

from azr.arguments import RunFolder


def export(
    run: RunFolder,
    to: Annotated[Path | None, typer.Option(help="Folder for the model.", show_default="RUN/model")] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write tasks and rollouts here, instead of the model.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="NAME", help="Upload it to this repository on the Hugging Face hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: let everyone see it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --push: show what would be uploaded.")] = False,
) -> None:
    """Write the newest checkpoint as a Hugging Face model, or all tasks and rollouts as a dataset."""
    from azr.export import command

    command.export(command.Request(run, to, dataset, push, public, dry_run))
