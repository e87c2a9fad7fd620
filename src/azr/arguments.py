"""Arguments and options that several commands take, and what they mean."""

from pathlib import Path
from typing import Annotated

import typer

from azr import completion
from azr.errors import UserError


def find_run(text: str) -> Path:
    """See `RunDirectory.find`, which is imported only when a run is asked for."""
    from azr.run.directory import RunDirectory

    return RunDirectory.find(text)


def model_or_run(name: str) -> str:
    """See `azr.run.directory.model_or_run`, which is imported only when a model is asked for."""
    from azr.run import directory

    return directory.model_or_run(name)


RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="The run: a folder, latest, or the beginning of a name.",
        parser=find_run,
        autocompletion=completion.runs,
    ),
]
PresetWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PRESET_OR_FILE] [KEY.SUB=VALUE]...",
        show_default=False,
        autocompletion=completion.presets_and_settings,
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file, instead of a preset.")]
Steps = Annotated[int | None, typer.Option(help="Number of training steps: steps=N.")]
Seed = Annotated[int | None, typer.Option(help="Random seed: seed=N.")]
Model = Annotated[str | None, typer.Option(help="Folder or hub name: model.name=M.")]
OutputDir = Annotated[Path | None, typer.Option(help="Parent folder of run folders: output_dir=D.")]


def split(words: list[str] | None) -> tuple[list[str], list[str]]:
    """Words without "=", and assignments."""
    return [word for word in words or [] if "=" not in word], [word for word in words or [] if "=" in word]


def preset_and_settings(words: list[str] | None, config: Path | None, *values: object) -> tuple[list[str], list[str]]:
    """Presets and files, and assignments, from words and the values of steps, seed, model and output_dir."""
    sources, assignments = split(words)
    options = dict(zip(("steps", "seed", "model.name", "output_dir"), values, strict=True))
    assignments += [f"{key}={value}" for key, value in options.items() if value is not None]
    return sources + ([] if config is None else [str(config)]), assignments


def only_one(sources: list[str], command: str) -> str:
    """The one preset or file that was named.

    Raises:
        UserError: none was named, or several.
    """
    if len(sources) == 1:
        return sources[0]
    named = f"{len(sources)} were named: {', '.join(sources)}" if sources else "none was named"
    raise UserError(f"azr {command} takes one preset or file, but {named}; try: azr {command} demo")
