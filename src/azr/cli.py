"""The command line. Heavy modules are imported only by the commands that need them, so that `azr --help` is fast."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from azr import __version__, completion, startup
from azr.arguments import (
    ConfigFile,
    Model,
    OutputDir,
    PresetWords,
    RunFolder,
    Seed,
    Steps,
    find_run,
    only_one,
    preset_and_settings,
    split,
)
from azr.console import explain_failure, prepare_streams
from azr.errors import UserError
from azr.export_command import export
from azr.model_commands import model_app
from azr.plugin_commands import domains_app, plugin_app
from azr.sandbox_commands import sandbox_app

app = typer.Typer(
    name="azr",
    help="The Absolute Zero Reasoner: a language model proposes tasks, solves them, and learns from both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(model_app)
app.add_typer(domains_app, name="domains")
app.add_typer(plugin_app)
app.add_typer(sandbox_app, name="sandbox")


def main() -> None:
    """Run the command line. Bad input becomes one line on standard error and exit code 2."""
    prepare_streams()
    try:
        code = _run()
        sys.stdout.flush()
    except Exception as error:
        code = explain_failure(error)
    sys.exit(code)


def _run() -> int:
    if "_AZR_COMPLETE" in os.environ:
        completion.prepare()
    try:
        return app(standalone_mode=False, prog_name="azr") or 0
    except typer.TyperException as error:  # an unknown option, a missing value
        context = getattr(error, "ctx", None)
        command = context.command_path if context else app.info.name
        message = error.format_message().rstrip(".")  # empty if a group without a command has printed its help
        if not message:
            return 2
        raise UserError(f"{message}; see {command} --help") from None


def _version(requested: bool) -> None:
    if requested:
        print(f"azr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `azr` itself."""


@app.command()
def train(
    words: PresetWords = None,
    config: ConfigFile = None,
    steps: Steps = None,
    seed: Seed = None,
    model: Model = None,
    output_dir: OutputDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Resume this run.", parser=find_run, autocompletion=completion.runs),
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option(metavar="RUN[@STEP]", help="Start a run from this one's state.", autocompletion=completion.runs),
    ] = None,
) -> None:
    """Train a model by self-play from a preset or a TOML file, or resume or fork a run."""
    startup.begin()
    from azr.train.start import resume_or_fork, start_run

    sources, assignments = preset_and_settings(words, config, steps, seed, model, output_dir)
    if resume is not None or fork is not None:
        if sources:
            raise UserError(f"{sources[0]}: a run is resumed or forked with its own configuration; omit the preset")
        raise typer.Exit(resume_or_fork(resume, fork, assignments))
    raise typer.Exit(start_run(only_one(sources, "train"), assignments))


@app.command()
def sweep(
    words: PresetWords = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-4 or 0,2,7.")] = "0-2",
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time.", show_default="one per GPU or core")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep.", show_default="runs/sweep-PRESET")] = None,
) -> None:
    """Compare settings, KEY=VALUE,VALUE, over seeds: train every combination, or what is missing; write one page."""
    from azr.sweep.command import sweep as run_sweep
    from azr.sweep.grid import parse

    raise typer.Exit(run_sweep(parse(*split(words), seeds), out, jobs))


@app.command()
def runs(folder: Annotated[Path, typer.Argument(help="Parent folder of the runs.")] = Path("runs")) -> None:
    """List runs: steps, points gained in held-out accuracy, state, and time since the last change."""
    from azr.report.runs import show

    show(folder)


@app.command()
def explain(
    run: RunFolder,
    rollout: Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, such as 3/solve/deduction/0002/1.")],
    tokens: Annotated[int, typer.Option(min=0, help="How many tokens to list: those with the largest push.")] = 20,
) -> None:
    """Follow one rollout from its text to the gradient: verdict, reward, baseline, advantage, ratio, tokens."""
    from rich.console import Console

    from azr.analysis.ledger import ledger
    from azr.report.explain import show, token_decoder

    found = ledger(run, rollout)
    show(found, Console(highlight=False), tokens=tokens, decode=token_decoder(run))


@app.command()
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Runs, or a sweep's folder.", parser=find_run, autocompletion=completion.runs
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="report.html in the first")] = None,
) -> None:
    """Write one HTML page that shows a run, or several side by side: curves, family tree, every attempt."""
    from azr.sweep.command import report as write

    target = write(folders, out)
    print(f"{target} ({target.stat().st_size / 1e6:.1f} MB); open it in any browser")


app.command()(export)


@app.command()
def watch(
    run: RunFolder,
    web: Annotated[bool, typer.Option("--web", help="Show it in a browser, from a server on localhost.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --web; 0: any free port.")] = 8642,
    once: Annotated[bool, typer.Option("--once", help="Draw it once and exit.")] = False,
) -> None:
    """Watch a run in progress: curves, rates, alarms, the newest tasks. Nothing is written."""
    from azr.watch.command import serve, watch

    if not web:
        watch(run, once=once)
    elif once:
        raise UserError("--once is for the terminal; azr report writes the page into a file")
    else:
        serve(run, port)


@app.command()
def config(
    words: PresetWords = None,
    config: ConfigFile = None,
    steps: Steps = None,
    seed: Seed = None,
    model: Model = None,
    output_dir: OutputDir = None,
) -> None:
    """Print the resolved configuration as TOML, without running anything."""
    from azr.settings import dump
    from azr.train.start import resolve

    sources, assignments = preset_and_settings(words, config, steps, seed, model, output_dir)
    print(dump(resolve(only_one(sources, "config"), assignments)), end="")


@app.command()
def plan(
    words: PresetWords = None,
    config: ConfigFile = None,
    steps: Steps = None,
    seed: Seed = None,
    model: Model = None,
    output_dir: OutputDir = None,
    gpu: Annotated[
        str | None, typer.Option(help="Plan for this GPU, such as a100-80gb, instead of this machine.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="Divide so many of these GPUs among learning and sampling.")] = None,
    time: Annotated[bool, typer.Option(help="Time a step on this machine, which takes a minute or two.")] = True,
) -> None:
    """Estimate the memory and time of a run, and suggest settings that fit; exit code 1 if it does not fit."""
    from azr.plan.command import show, show_plan

    sources, assignments = preset_and_settings(words, config, steps, seed, model, output_dir)
    source = only_one(sources, "plan")
    if gpus is None:
        fits = show_plan(source, assignments, gpu, timed=time)
    else:
        from azr.plan.several import plan_machine

        fits = show(plan_machine(source, assignments, gpu, gpus))
    raise typer.Exit(0 if fits else 1)


@app.command()
def presets() -> None:
    """List the presets."""
    from azr import settings

    for name in settings.presets():
        print(f"{name:<24} {settings.headline(name)}")


@app.command("completion")
def shell_completion(
    shell: Annotated[
        str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=lambda: list(completion.SHELLS))
    ],
) -> None:
    """Print the script that completes commands: put eval "$(azr completion bash)" into ~/.bashrc."""
    print(completion.script(shell))
