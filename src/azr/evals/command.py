"""What `azr eval` does: every model through every benchmark, one file of completions each, one table, one JSON file."""

from __future__ import annotations

import asyncio
import difflib
import functools
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from azr import settings as trees
from azr.config import ModelConfig, SandboxConfig
from azr.errors import UserError
from azr.evals import benchmarks, domain_sets, harness, math, models
from azr.evals.answerers import Answerer, BrokenAnswerer, GoldAnswerer
from azr.evals.harness import Settings
from azr.evals.problems import Benchmark
from azr.evals.results import Scored, comparison, score, summary, table
from azr.evals.templates import Name, Template
from azr.evals.variants import VARIANTS
from azr.run.directory import CONFIG, explained
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox

RESULTS = "results.json"
COMPLETIONS = "completions"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        models: folders, hub names, runs or served models; the first is what the others are compared with.
        bench: names of benchmarks.
        out: folder for results and completions.
        data: folder with the publishers' files; None for the hub.
        gold: whether the gold answers are put to the test too.
        broken: names of broken variants that are put to the test too.
        ks: k of pass@k.
        settings: of all of them.
        assignments: `model.KEY=VALUE` and `sandbox.KEY=VALUE`.
    """

    models: Sequence[str]
    bench: Sequence[str]
    out: Path
    data: Path | None = None
    gold: bool = False
    broken: Sequence[str] = ()
    ks: Sequence[int] = (1,)
    settings: Settings = field(default_factory=Settings)
    assignments: Sequence[str] = ()


def beside(names: Sequence[str]) -> Path:
    """Where results go if nothing is said: into the folder of the last run that is named, else into the current one."""
    runs = [Path(name) for name in names if (Path(name) / CONFIG).is_file()]
    return (runs[-1] if runs else Path()) / "evals"


def evaluate(request: Request) -> int:
    """Carry out a request and print its table; returns the exit code, 1 where a broken answer scored.

    Raises:
        UserError: what is wrong with it, before anything is loaded where that can be.
    """
    console = Console()
    model_config, sandbox_config = _configs(request.assignments)
    _check(request)
    contestants = _contestants(request)
    template = _template(request.settings.template)

    async def go() -> list[Scored]:
        sandbox = make_sandbox(**sandbox_config.choice)
        try:
            names = [name for name in request.bench if name not in math.TASKS]
            suite = [await _benchmark(name, template, request, sandbox) for name in names]
            with _progress(console) as bar:
                return [
                    scored
                    for contestant in contestants
                    for scored in await _one(contestant, suite, template, request, model_config, sandbox, bar)
                ]
        finally:
            await sandbox.close()

    results = asyncio.run(go())
    _show(console, table(results, request.ks, request.models))
    _write(request, results)
    console.print(f"results: {request.out / RESULTS}", soft_wrap=True, highlight=False)
    return _fooled(contestants, results)


def _fooled(contestants: Sequence[_Contestant], results: Sequence[Scored]) -> int:
    """Say which broken answers scored; the exit code."""
    broken = {contestant.title for contestant in contestants if contestant.kind == "broken"}
    scored = [
        f"{of.model} on {of.benchmark} ({sum(map(bool, of.correct))} of {len(of.correct)} problems)"
        for of in results
        if of.model in broken and any(of.correct)
    ]
    if scored:
        told = f"broken answers scored: {', '.join(scored)}; find out why in {COMPLETIONS}/ before you trust a score"
        print(f"azr: error: {told}", file=sys.stderr)
    return 1 if scored else 0


@dataclass(frozen=True, slots=True)
class _Contestant:
    """A column of the table.

    Attributes:
        title: its heading.
        kind: "model", "gold" or "broken".
        source: folder or hub name, or the variant's name.
    """

    title: str
    kind: str
    source: str

    @property
    def identity(self) -> str:
        """What its completions are filed under."""
        return models.identity(self.source) if self.kind == "model" else f"{self.kind}:{self.source}"

    @property
    def folder(self) -> str:
        return re.sub(r"[^\w.-]+", "_", self.title if self.kind == "model" else f"{self.kind}-{self.source}").strip("_")


def _check(request: Request) -> None:
    chosen = request.settings
    if not request.bench:
        raise UserError(f"name a benchmark with --bench; there are {', '.join(_known())}")
    if chosen.samples > 1 and chosen.temperature == 0 and request.models:
        raise UserError(f"--samples {chosen.samples} at temperature 0 are all the same; give --temperature too")
    if (request.gold or request.broken) and any(name in math.TASKS for name in request.bench):
        raise UserError("gold and broken answers are for code; lm-eval's mathematics takes models only")
    if any(name in math.TASKS for name in request.bench) and any(map(models.is_served, request.models)):
        raise UserError("lm-eval's mathematics takes models that are loaded here, not one that a server has")
    for k in request.ks:
        if k < 1:
            raise UserError(f"--k {k}: give whole numbers from 1")
        if k > chosen.samples:
            raise UserError(f"--k {k}: pass@{k} needs --samples {k} or more")


def _known() -> list[str]:
    return [*benchmarks.LOADERS, *math.TASKS, *domain_sets.names()]


def _contestants(request: Request) -> list[_Contestant]:
    found = [_Contestant(name, "model", models.locate(name)) for name in request.models]
    if request.gold:
        found.append(_Contestant("gold", "gold", "gold"))
    for name in VARIANTS if "all" in request.broken else request.broken:
        if name not in VARIANTS:
            raise UserError(f"--broken {name}: no such variant; there are all, {', '.join(VARIANTS)}")
        found.append(_Contestant(name, "broken", name))
    if not found:
        raise UserError("azr eval takes at least one model, or --gold, or --broken NAME")
    if len({contestant.folder for contestant in found}) < len(found):
        raise UserError("two models have one name: name each once, and by different paths")
    return found


def _template(name: str) -> Template:
    for known in get_args(Name):
        if name == known:
            return Template(known)
    raise UserError(f"--template {name}: no such template; there are {', '.join(get_args(Name))}")


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
        played = functools.partial(models.played, request.models)
        return await domain_sets.load(name, template.name, limit, sandbox, played=played, seed=request.settings.seed)
    if name not in benchmarks.LOADERS:
        nearest = difflib.get_close_matches(name, _known(), n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UserError(f"--bench {name}: no such benchmark{hint}; there are {', '.join(_known())}")
    found = benchmarks.load(name, request.data)
    return replace(found, problems=found.problems[:limit])


async def _one(
    contestant: _Contestant,
    suite: Sequence[Benchmark],
    template: Template,
    request: Request,
    model_config: ModelConfig,
    sandbox: Sandbox,
    bar: Callable[[str, int], Callable[[int], None]],
) -> list[Scored]:
    """One contestant through all benchmarks; its model is let go of afterwards."""
    results = []
    async with _answering(contestant, template, model_config, request.settings) as (answerer, asked):
        for benchmark in suite:
            records = await harness.run(
                answerer,
                benchmark,
                asked,
                request.settings,
                sandbox,
                request.out / COMPLETIONS / contestant.folder / f"{_file(benchmark.name)}.jsonl",
                identity=contestant.identity,
                advance=bar(f"{contestant.title} on {benchmark.name}", len(benchmark.problems)),
            )
            results.append(score(contestant.title, benchmark.name, records, benchmark.baselines))
    for name in request.bench:
        if name in math.TASKS:
            records = _mathematics(contestant, name, request, model_config)
            results.append(score(contestant.title, name, records))
    return results


def _mathematics(
    contestant: _Contestant, name: str, request: Request, model_config: ModelConfig
) -> list[dict[str, Any]]:
    """A benchmark that lm-eval asks; one that was asked before is read from its file."""
    path = request.out / COMPLETIONS / contestant.folder / f"{name}.jsonl"
    header = {"benchmark": name, "model": contestant.identity, "problems": "lm-eval", **request.settings.record()}
    records = harness.resume(path, header)
    if not records:
        device = models.device(model_config)
        records = math.run(contestant.source, math.TASKS[name], request.settings, device=device)
        with explained(path.parent, remedy=harness.OUT), path.open("a", encoding="utf-8") as file:
            harness.write(file, records)
    return records


@asynccontextmanager
async def _answering(
    contestant: _Contestant, template: Template, model_config: ModelConfig, settings: Settings
) -> AsyncIterator[tuple[Answerer, Template]]:
    if contestant.kind == "gold":
        yield GoldAnswerer(template), template
    elif contestant.kind == "broken":
        yield BrokenAnswerer(template, VARIANTS[contestant.source]), template
    else:
        async with models.opened(contestant.source, model_config, settings) as (answerer, chat):
            yield answerer, replace(template, chat=chat)


def _show(console: Console, drawn: Table) -> None:
    """Print the table; into a file or a pipe, as wide as it is."""
    (console if console.is_terminal else Console(width=500)).print(drawn)


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def _write(request: Request, results: Sequence[Scored]) -> None:
    record: dict[str, Any] = {
        "settings": request.settings.record(),
        "results": [summary(scored, request.ks) for scored in results],
        "differences": comparison(results, request.ks, request.models),
    }
    with explained(request.out, remedy=harness.OUT):
        (request.out / RESULTS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A bar for each contestant and benchmark; where there is no terminal, a line for each window of problems."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def bar(title: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(title, total=total)

            def advance(done: int) -> None:
                progress.update(task, completed=done)
                if not console.is_terminal and done:
                    console.print(f"{title}: {done} of {total}", soft_wrap=True, highlight=False, markup=False)

            return advance

        yield bar
