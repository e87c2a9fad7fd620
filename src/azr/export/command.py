"""What `azr export` does: write a model or a dataset to a folder, upload it, or show what would be uploaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from azr.errors import UserError
from azr.export.hub import Repository, RepositoryKind, check_name, listing, open_repository, upload

Write = Callable[[Path, str | None], str]
"""Writes an export to a new folder, with the name of its repository in the card. Returns one line on what it wrote."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `azr export`."""

    run: Path
    to: Path | None = None
    dataset: Path | None = None
    push: str | None = None
    public: bool = False
    dry_run: bool = False


def export(request: Request) -> None:
    """Do what was asked for, and print what was done.

    Raises:
        UserError: the options contradict each other, the run cannot be exported, or the hub refuses the upload.
    """
    _check(request)
    kind: RepositoryKind = "model" if request.dataset is None else "dataset"
    write = _model_writer(request.run) if kind == "model" else _dataset_writer(request.run)
    if request.push is None:
        folder = request.dataset or request.to or request.run / "model"
        print(f"{write(folder, None)}: {folder}")
        if kind == "dataset":
            print(f'read it with: datasets.load_dataset("{folder}", "tasks", split="train")')
        return
    if request.dry_run:
        check_name(request.push)
        _show(Repository(request.push, kind, request.public), write)
        return
    repository = open_repository(request.push, kind, public=request.public)
    _push(repository, write, request.dataset or request.to)


def _check(request: Request) -> None:
    if request.to is not None and request.dataset is not None:
        raise UserError("--to writes the model and --dataset the tasks and rollouts; use only one of them")
    for option, given in (("--public", request.public), ("--dry-run", request.dry_run)):
        if given and request.push is None:
            raise UserError(f"{option} is for --push NAME, the repository on the hub")


def _show(repository: Repository, write: Write) -> None:
    """Print what would be uploaded. Nothing is kept and no network is used."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, "export")
        print(f"{write(folder, repository.name)}; would be uploaded to the {repository}:\n")
        for line in listing(folder):
            print(line)


def _push(repository: Repository, write: Write, kept: Path | None) -> None:
    """Export to the folder `kept`, or to a temporary one, and upload it."""
    with TemporaryDirectory() as temporary:
        folder = kept or Path(temporary, "export")
        message = write(folder, repository.name)
        try:
            address = upload(folder, repository, message[0].upper() + message[1:])
        except UserError as error:
            if kept is None:
                raise
            flag = " --repo-type dataset" if repository.kind == "dataset" else ""
            raise UserError(
                f"{error}; the files are in {folder}: hf upload {repository.name} {folder}{flag}"
            ) from error
    print(f"{message}: {address} ({'public' if repository.public else 'private'})")


def _model_writer(run: Path) -> Write:
    from azr.export.model import export_model

    return lambda folder, name: f"model after step {export_model(run, folder, name)}"


def _dataset_writer(run: Path) -> Write:
    from azr.export.dataset import export_dataset

    def write(folder: Path, name: str | None) -> str:
        return ", ".join(f"{count} {part}" for part, count in export_dataset(run, folder, name).items())

    return write
