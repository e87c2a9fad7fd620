"""The command line: thin, and quick to answer, since whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from azr import __version__
from azr.errors import UserError

app = typer.Typer(
    name="azr",
    help="The Absolute Zero Reasoner: a language model proposes tasks, solves them, and learns from both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sandbox_app = typer.Typer(help="The sandbox in which the model's programs run.", no_args_is_help=True)
app.add_typer(sandbox_app, name="sandbox")


def main() -> None:
    """Run the command line. Bad input becomes one line on standard error and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):  # what the terminal's encoding lacks comes as its escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False, prog_name="azr")
    except UserError as error:
        code = _refuse(str(error))
    except typer.TyperException as error:  # an option that is none, a value that is missing
        context = getattr(error, "ctx", None)
        command = context.command_path if context else app.info.name
        said = error.format_message().rstrip(".")  # nothing where a group without a command has printed its help
        code = _refuse(f"{said}; see {command} --help") if said else 2
    sys.exit(code)


def _refuse(message: str) -> int:
    print(f"azr: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _version(asked: bool) -> None:
    if asked:
        print(f"azr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Hold the options that belong to no command."""


@app.command()
def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PRESET_OR_FILE] [KEY.SUB=VALUE]...", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file, in place of a preset.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates: steps=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random: seed=N.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder or hub name: model.name=M.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where run folders are made: output_dir=D.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder.")] = None,
) -> None:
    """Train a model by self-play, from a preset or a TOML file, or go on with a run."""
    from azr.train.start import resume_run, start_run

    sources = [word for word in words or [] if "=" not in word]
    assignments = [word for word in words or [] if "=" in word]
    options = {"steps": steps, "seed": seed, "model.name": model, "output_dir": output_dir}
    assignments += [f"{key}={value}" for key, value in options.items() if value is not None]
    if config is not None:
        sources.append(str(config))
    if resume is not None:
        if sources:
            raise UserError(f"{sources[0]}: a run is resumed with its own configuration; leave the preset out")
        raise typer.Exit(resume_run(resume, assignments))
    if len(sources) != 1:
        named = f"{len(sources)} were named: {', '.join(sources)}" if sources else "none was named"
        raise UserError(f"azr train takes one preset or file, {named}; try: azr train demo")
    raise typer.Exit(start_run(sources[0], assignments))


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    rollout: Annotated[str, typer.Argument(metavar="ROLLOUT", help="Such as 3/solve/deduction/0002/1.")],
    tokens: Annotated[int, typer.Option(min=0, help="How many tokens to list: those that were pushed most.")] = 20,
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
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or of azr eval.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="report.html in the first")] = None,
) -> None:
    """Write one HTML page that shows a run, or several side by side: curves, family tree, every attempt."""
    from azr.report.build import report as write

    target = write(folders, out)
    print(f"{target} ({target.stat().st_size / 1e6:.1f} MB); open it in any browser")


@app.command("eval")
def evaluate(
    words: Annotated[list[str] | None, typer.Argument(metavar="[MODEL | model.KEY=VALUE]", show_default=False)] = None,
    bench: Annotated[str, typer.Option(help="Benchmarks and self-play sets, separated by commas.")] = "",
    data: Annotated[Path | None, typer.Option(help="Folder with the publishers' files; else the hub.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results and completions; an earlier call goes on.",
            show_default="evals, in the last run's folder",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions a problem.")] = 1,
    k: Annotated[str, typer.Option(help="k of pass@k, separated by commas; else 1 and --samples.")] = "",
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="A completion is cut after so many.")] = 512,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    template: Annotated[str, typer.Option(help="complete, chat or r1; the same for all models.")] = "complete",
    seconds: Annotated[
        float,
        typer.Option(min=0.01, help="Processor time for the program of an answer; three times that by the clock."),
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling.")] = 0,
    gold: Annotated[bool, typer.Option("--gold", help="Put the gold answers to the test too.")] = False,
    broken: Annotated[
        str, typer.Option(help="Broken answers that must score nothing: all, or names; if one scores, exit code 1.")
    ] = "",
) -> None:
    """Measure models on benchmarks, side by side; the first is what the others are compared with."""
    from azr.evals.command import Request, beside, evaluate
    from azr.evals.harness import Settings

    given = words or []
    models = [word for word in given if "=" not in word]
    code = evaluate(
        Request(
            models=models,
            bench=_listed(bench),
            out=out or beside(models),
            data=data,
            gold=gold,
            broken=_listed(broken),
            ks=_numbers(k) or sorted({1, samples}),
            settings=Settings(template, samples, temperature, top_p, max_tokens, seed, seconds, limit),
            assignments=[word for word in given if "=" in word],
        )
    )
    raise typer.Exit(code)


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _listed(text)]
    except ValueError:
        raise UserError(f"--k {text}: not whole numbers, separated by commas") from None


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="Folder for the model.", show_default="RUN/model")] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write tasks and rollouts here, as a dataset, in its place.")
    ] = None,
) -> None:
    """Write the newest checkpoint as a plain Hugging Face model, or all tasks and rollouts as a dataset."""
    if dataset is None:
        from azr.export.model import export_model

        folder = to or run / "model"
        print(f"model after step {export_model(run, folder)}: {folder}")
        return
    if to is not None:
        raise UserError("--to is for the model and --dataset for tasks and rollouts; name one of them")
    from azr.export.dataset import export_dataset

    sizes = export_dataset(run, dataset)
    print(f"{', '.join(f'{count} {name}' for name, count in sizes.items())}: {dataset}")
    print(f'read it with: datasets.load_dataset("{dataset}", "tasks", split="train")')


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    web: Annotated[bool, typer.Option("--web", help="In a browser, from a server that only this machine reaches.")] = (
        False
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --web; 0 takes any that is free.")] = 8642,
    once: Annotated[bool, typer.Option("--once", help="Draw it once and end.")] = False,
) -> None:
    """Look at a run while it goes on: curves, rates, alarms, the newest tasks. It only reads."""
    from azr.watch.command import serve, watch

    if web and once:
        raise UserError("--once is for the terminal; azr report writes the page into a file")
    if web:
        serve(run, port)
    else:
        watch(run, once=once)


@app.command()
def play(
    words: Annotated[list[str], typer.Argument(metavar="MODEL [KEY.SUB=VALUE]...", show_default=False)],
    mode: Annotated[str, typer.Option(help="What you do: propose or solve.")] = "propose",
    kind: Annotated[str | None, typer.Option(help="Of the tasks.", show_default="the domain's first")] = None,
    samples: Annotated[int, typer.Option("--attempts", min=1, help="The model's, at what you propose.")] = 8,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is random.", show_default="drawn")] = None,
    once: Annotated[bool, typer.Option("--once", help="One round with what is given here; no questions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the round as JSON.")] = False,
    program: Annotated[Path | None, typer.Option(help="File with the program; - for standard input.")] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", help="An input; may be repeated.")] = None,
    message: Annotated[str | None, typer.Option(help="The hint of an induction task.")] = None,
    answer: Annotated[str | None, typer.Option(help="Your answer, or a whole proposal; else standard input.")] = None,
) -> None:
    """Play with a model: you propose and it solves, or it proposes and you solve."""
    from azr.play.command import Request, play, program_text

    model, *assignments = words
    given = {
        "program": None if program is None else [program_text(program)],
        "input": input_,
        "message": None if message is None else [message],
        "answer": None if answer is None else [answer],
    }
    parts = {name: texts for name, texts in given.items() if texts}
    if (parts or as_json) and not once:
        raise UserError(f"--{next(iter(parts), 'json')} goes with --once")
    play(Request(model, mode, kind, samples, seed, once, as_json, parts, assignments))


@app.command()
def config(
    words: Annotated[list[str], typer.Argument(metavar="PRESET_OR_FILE [KEY.SUB=VALUE]...", show_default=False)],
) -> None:
    """Print the resolved configuration as TOML, without running anything."""
    from azr.settings import dump
    from azr.train.start import resolve

    source, *assignments = words
    print(dump(resolve(source, assignments)), end="")


@app.command()
def plan(
    words: Annotated[list[str], typer.Argument(metavar="PRESET_OR_FILE [KEY.SUB=VALUE]...", show_default=False)],
    gpu: Annotated[str | None, typer.Option(help="A card that this machine need not have, such as a100-80gb.")] = None,
    time: Annotated[bool, typer.Option(help="Try a step out here, which takes a minute or two.")] = True,
) -> None:
    """Count the memory that a run needs, say whether it fits and what would, and how long it will take."""
    from azr.plan.command import plan as plan_run

    source, *assignments = words
    for line in plan_run(source, assignments, gpu, timed=time):
        print(line, flush=True)


@app.command()
def presets() -> None:
    """List the presets that ship."""
    from azr import settings

    for name in settings.presets():
        print(f"{name:<24} {settings.headline(name)}")


@app.command()
def domains(
    name: Annotated[str | None, typer.Argument(help="Tell the settings of this one.", show_default=False)] = None,
) -> None:
    """List the task domains that are installed, or tell the settings of one."""
    from azr.domains import registry

    lines, errors = (registry.about(name), []) if name else registry.listing()
    print("\n".join(lines))
    if errors:
        raise errors[0]


@sandbox_app.command()
def doctor(
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)] = None,
) -> None:
    """Try which protections hold on this machine; exit code 1 where the configured backend falls short."""
    from azr.train.start import examine_sandbox

    raise typer.Exit(examine_sandbox(words or []))


@sandbox_app.command()
def image(
    name: Annotated[str, typer.Argument(help="What the image is called.")] = "azr-sandbox:local",
) -> None:
    """Build a Docker image for backend = docker out of this machine's Python, where none can be pulled."""
    from azr.sandbox.backends.image import build_local_image

    print(f"{name} {build_local_image(name)}")
    print(f"use it with: sandbox.backend=docker sandbox.image={name}")
