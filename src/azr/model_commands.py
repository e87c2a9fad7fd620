"""The commands `azr eval`, `azr play`, `azr chat` and `azr serve`, which take a model."""

from pathlib import Path
from typing import Annotated

import typer

from azr import completion
from azr.arguments import model_or_run, split
from azr.errors import UserError

model_app = typer.Typer()


@model_app.command("eval")
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL | model.KEY=VALUE]", show_default=False, autocompletion=completion.models_and_settings
        ),
    ] = None,
    bench: Annotated[str, typer.Option(help="Benchmarks and self-play sets, separated by commas.")] = "",
    data: Annotated[Path | None, typer.Option(help="Folder with the publishers' files, instead of the hub.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results and completions. An interrupted evaluation in it is resumed.",
            show_default="evals, in the last run's folder",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions per problem.")] = 1,
    k: Annotated[str, typer.Option(help="k of pass@k, separated by commas; default: 1 and --samples.")] = "",
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per completion, at most.")] = 512,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of problems, from the first.")] = None,
    template: Annotated[str, typer.Option(help="complete, chat or r1, for all models.")] = "complete",
    seconds: Annotated[
        float, typer.Option(min=0.01, help="CPU seconds per program; the wall-clock limit is three times that.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling.")] = 0,
    gold: Annotated[bool, typer.Option("--gold", help="Also evaluate the gold answers.")] = False,
    broken: Annotated[
        str, typer.Option(help="Also evaluate broken answers: all, or names; exit code 1 if any scores.")
    ] = "",
) -> None:
    """Evaluate models on benchmarks, side by side. The others are compared with the first."""
    from azr.evals.command import Request, beside, evaluate, listed, numbers
    from azr.evals.harness import Settings

    models, assignments = split(words)
    request = Request(
        models=(names := [model_or_run(name) for name in models]),
        bench=listed(bench),
        out=out or beside(names),
        data=data,
        gold=gold,
        broken=listed(broken),
        ks=numbers(k) or sorted({1, samples}),
        settings=Settings(template, samples, temperature, top_p, max_tokens, seed, seconds, limit),
        assignments=assignments,
    )
    raise typer.Exit(evaluate(request))


@model_app.command()
def play(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL [KEY.SUB=VALUE]...", show_default=False, autocompletion=completion.models_and_settings
        ),
    ],
    mode: Annotated[str, typer.Option(help="Your role: propose or solve.")] = "propose",
    kind: Annotated[str | None, typer.Option(help="Kind of the tasks.", show_default="the domain's first")] = None,
    samples: Annotated[int, typer.Option("--attempts", min=1, help="Attempts of the model at your task.")] = 8,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed.", show_default="random")] = None,
    once: Annotated[bool, typer.Option("--once", help="Play one round with these options, without prompting.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the round as JSON.")] = False,
    program: Annotated[Path | None, typer.Option(help="File with the program; -: standard input.")] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", help="An input; may be repeated.")] = None,
    message: Annotated[str | None, typer.Option(help="The hint of an induction task.")] = None,
    answer: Annotated[str | None, typer.Option(help="Answer or whole proposal; default: standard input.")] = None,
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
        raise UserError(f"--{next(iter(parts), 'json')} needs --once")
    play(Request(model_or_run(model), mode, kind, samples, seed, once, as_json, parts, assignments))


@model_app.command()
def chat(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL [KEY.SUB=VALUE]...", show_default=False, autocompletion=completion.models_and_settings
        ),
    ],
    system: Annotated[str, typer.Option(help="System message.")] = "",
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer, at most.")] = 1024,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of sampling.", show_default="random")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text, without the chat template.")] = False,
) -> None:
    """Talk to a run's model or to any other. Input from a pipe is answered once."""
    from azr.play.chat import Request, chat
    from azr.rollout.base import Sampling

    model, *assignments = words
    sampling = Sampling(max_tokens, temperature, top_p)
    chat(Request(model_or_run(model), sampling, system, raw, seed, assignments))


@model_app.command()
def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder, hub name or shipped model.", show_default=False)
    ],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- VLLM_ARGUMENT...]", help="Passed on to vLLM.", show_default=False)
    ] = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs to use, such as 2-7 or 0,2.", show_default=False)] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Serve on the CPU instead.")] = False,
    tensor_parallel: Annotated[int, typer.Option(min=1, help="GPUs that share one copy of the model.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Start a vLLM server that a run can sample from: generation.urls=http://HOST:PORT."""
    from azr.serve import Request, serve

    if (gpus is None) != cpu:
        raise UserError("azr serve takes either --gpus, such as --gpus 0-3, or --cpu")
    serve(Request(model, gpus, tensor_parallel, host, port, more or []))
