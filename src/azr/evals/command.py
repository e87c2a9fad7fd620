"""`azr eval`: run every model on every benchmark; write completions and results, print one table."""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from azr import settings as trees
from azr.config import ModelConfig, SandboxConfig
from azr.console import can_redraw
from azr.errors import UserError, nearest
from azr.evals import benchmarks, domain_sets, harness, math
from azr.evals.contestants import Contestant, answering, contestants, is_served
from azr.evals.harness import Settings
from azr.evals.problems import Benchmark
from azr.evals.results import Scored, comparison, score, summary, table
from azr.evals.templates import NAMES, Template
from azr.run.directory import CONFIG, explained
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox

RESULTS = "results.json"
COMPLETIONS = "completions"


@dataclass(frozen=True, slots=True)
class Request:
    """The command line."""

    models: Sequence[str]  # folders, hub names, runs or served models; the others are compared with the first
    bench: Sequence[str]  # names of benchmarks
    out: Path  # folder for results and completions
    data: Path | None = None  # folder with the publishers' files; None for the hub
    gold: bool = False  # also evaluate the gold answers
    broken: Sequence[str] = ()  # broken variants to evaluate too
    ks: Sequence[int] = (1,)  # k of pass@k
    settings: Settings = field(default_factory=Settings)  # shared by all evaluations
    assignments: Sequence[str] = ()  # `model.KEY=VALUE` and `sandbox.KEY=VALUE`


def beside(names: Sequence[str]) -> Path:
    """The default folder for results: in the last run among the models, else in the current folder."""
    runs = [Path(name) for name in names if (Path(name) / CONFIG).is_file()]
    return (runs[-1] if runs else Path()) / "evals"


def evaluate(request: Request) -> int:
    """Run a request and print its table; returns the exit code: 1 if a broken answer scored, else 0.

    Raises:
        UserError: the request is invalid; raised before anything is loaded where possible.
    """
    console = Console(force_jupyter=False)
    model_config, sandbox_config = _configs(request.assignments)
    _check(request)
    contenders = contestants(request.models, gold=request.gold, broken=request.broken)
    if any(not is_served(name) for name in request.models):
        from azr.models.failures import pick_device

        pick_device(model_config.device)  # fails here, not after the benchmarks have been read
    template = Template(request.settings.template)

    async def go() -> list[Scored]:
        sandbox = make_sandbox(**sandbox_config.choice)
        try:
            names = [name for name in request.bench if name not in math.TASKS]
            suite = [await _benchmark(name, template, request, sandbox) for name in names]
            with _progress(console) as bar:
                return [
                    scored
                    for contestant in contenders
                    for scored in await _one(contestant, suite, template, request, model_config, sandbox, bar)
                ]
        finally:
            await sandbox.close()

    results = asyncio.run(go())
    record: dict[str, Any] = {
        "settings": request.settings.record(),
        "results": [summary(scored, request.ks) for scored in results],
        "differences": comparison(results, request.ks, request.models),
    }
    wide = (
        console if can_redraw(console.file) else Console(width=500, force_jupyter=False)
    )  # a file or a pipe gets the full width
    wide.print(table(record["results"], record["differences"]))
    with explained(request.out, remedy=harness.OUT):
        (request.out / RESULTS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    console.print(f"results: {request.out / RESULTS}", soft_wrap=True, highlight=False)
    return _report_scored(results, {contestant.title for contestant in contenders if contestant.kind == "broken"})


def _report_scored(results: Sequence[Scored], broken: Set[str]) -> int:
    """Print to stderr which broken answers scored; returns the exit code."""
    scored = [
        f"{result.model} on {result.benchmark} ({sum(map(bool, result.correct))} of {len(result.correct)} problems)"
        for result in results
        if result.model in broken and any(result.correct)
    ]
    if scored:
        message = f"broken answers scored: {', '.join(scored)}; find out why in {COMPLETIONS}/ before you trust a score"
        print(f"azr: error: {message}", file=sys.stderr)
    return 1 if scored else 0


def _check(request: Request) -> None:
    chosen = request.settings
    known = [*benchmarks.LOADERS, *math.TASKS, *domain_sets.names()]
    if not request.bench:
        raise UserError(f"no benchmark; name one with --bench: {', '.join(known)}")
    for name in request.bench:
        if name not in known and domain_sets.domain_of(name) is None:
            raise UserError(f"--bench {name}: no such benchmark{nearest(name, known)}; there are {', '.join(known)}")
    if chosen.template not in NAMES:
        raise UserError(f"--template {chosen.template}: no such template; there are {', '.join(NAMES)}")
    if chosen.samples > 1 and chosen.temperature == 0 and request.models:
        raise UserError(f"--samples {chosen.samples}: samples at temperature 0 are all the same; set --temperature too")
    mathematics = any(name in math.TASKS for name in request.bench)
    if mathematics and (request.gold or request.broken):
        raise UserError("--gold and --broken: only for code; benchmarks of lm-eval take models only")
    if mathematics and any(map(is_served, request.models)):
        raise UserError("benchmarks of lm-eval need a model that is loaded on this machine, not one on a server")
    for k in request.ks:
        if k < 1:
            raise UserError(f"--k {k}: must be at least 1")
        if k > chosen.samples:
            raise UserError(f"--k {k}: pass@{k} needs --samples {k} or more")


def _configs(assignments: Sequence[str]) -> tuple[ModelConfig, SandboxConfig]:
    tree = trees.override({}, assignments)
    for key in tree:
        if key not in ("model", "sandbox"):
            raise UserError(f"{key}: azr eval takes model.KEY=VALUE and sandbox.KEY=VALUE")
    model = trees.check(ModelConfig, {"name": "", **tree.get("model", {})}, source="model")
    return model, trees.check(SandboxConfig, tree.get("sandbox", {}), source="sandbox")


async def _benchmark(name: str, template: Template, request: Request, sandbox: Sandbox) -> Benchmark:
    limit = request.settings.limit
    if domain_sets.domain_of(name) is not None:
        seed = request.settings.seed
        return await domain_sets.load(name, template.name, limit, sandbox, runs=request.models, seed=seed)
    found = benchmarks.LOADERS[name](request.data)
    return replace(found, problems=found.problems[:limit])


async def _one(
    contestant: Contestant,
    suite: Sequence[Benchmark],
    template: Template,
    request: Request,
    model_config: ModelConfig,
    sandbox: Sandbox,
    bar: Callable[[str, int], Callable[[int], None]],
) -> list[Scored]:
    """Evaluate one contestant on all benchmarks; its model is freed afterwards."""
    results, folder = [], request.out / COMPLETIONS / contestant.folder
    async with answering(contestant, template, model_config, request.settings) as (answerer, asked):
        for benchmark in suite:
            records = await harness.run(
                answerer,
                benchmark,
                asked,
                request.settings,
                sandbox,
                folder / re.sub(r"[^\w.-]+", "_", f"{benchmark.name}.jsonl"),
                identity=contestant.identity,
                advance=bar(f"{contestant.title} on {benchmark.name}", len(benchmark.problems)),
            )
            results.append(score(contestant.title, benchmark.name, records, benchmark.baselines))
    for name in request.bench:
        if name in math.TASKS:
            records = _mathematics(contestant, name, request.settings, model_config, folder / f"{name}.jsonl")
            results.append(score(contestant.title, name, records))
    return results


def _mathematics(
    contestant: Contestant, name: str, settings: Settings, model_config: ModelConfig, path: Path
) -> list[dict[str, Any]]:
    """Records of a benchmark of lm-eval; read from their file if they are there already."""
    header = {"benchmark": name, "model": contestant.identity, "problems": "lm-eval", **settings.record()}
    records = harness.resume(path, header)
    if not records:
        from azr.models.failures import pick_device

        device = str(pick_device(model_config.device))
        records = math.run(contestant.source, math.TASKS[name], settings, device=device)
        with explained(path.parent, remedy=harness.OUT), path.open("a", encoding="utf-8") as file:
            harness.write(file, records)
    return records


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A progress bar per contestant and benchmark; without a terminal, a line per window of problems."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not can_redraw(console.file)) as progress:

        def bar(title: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(title, total=total)

            def advance(done: int) -> None:
                progress.update(task, completed=done)
                if not can_redraw(console.file) and done:
                    console.print(f"{title}: {done} of {total}", soft_wrap=True, highlight=False, markup=False)

            return advance

        yield bar


def listed(text: str) -> list[str]:
    """Words that are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """The numbers of `--k`.

    Raises:
        UserError: they are not whole numbers.
    """
    try:
        return [int(word) for word in listed(text)]
    except ValueError:
        raise UserError(f"--k {text}: expected whole numbers, separated by commas") from None
