"""`azr.evaluate`: `azr eval` from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from azr.concurrency import outside_loop
from azr.frames.run import Run
from azr.frames.tables import BENCHMARKS, benchmark_rows, frame, pandas, read_results
from azr.run.directory import model_or_run

if TYPE_CHECKING:
    import pandas as pd

Model = str | os.PathLike[str] | Run


def evaluate(
    models: Model | Sequence[Model],
    bench: str | Sequence[str],
    *,
    samples: int = 1,
    k: Sequence[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_tokens: int = 512,
    limit: int | None = None,
    template: str = "complete",
    seconds: float = 10.0,
    seed: int = 0,
    data: Path | None = None,
    out: Path | None = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """Evaluate models on benchmarks as `azr eval` does, print its table, and return it as a frame (`BENCHMARKS`).

    Args:
        models: one or several, each a run, its name or folder, or a model's folder or hub name. The others are compared
            with the first.
        bench: names of benchmarks and self-play sets, such as `python`.
        samples: completions per problem.
        k: of pass@k; default: 1 and `samples`.
        temperature: of sampling; 0 is greedy.
        top_p: nucleus mass.
        max_tokens: per completion, at most.
        limit: number of problems, from the first; None for all.
        template: complete, chat or r1.
        seconds: CPU seconds per program.
        seed: of sampling.
        data: folder with the publishers' files; None for the Hub.
        out: folder for results and completions; default: `evals`, in the last run's folder.
        settings: `model.KEY=VALUE` and `sandbox.KEY=VALUE`.

    Raises:
        UserError: as `azr eval` prints, or the extra `frames` is missing.
    """
    from azr.evals.command import RESULTS, Request, beside
    from azr.evals.command import evaluate as run_request
    from azr.evals.harness import Settings

    pandas()  # fails here, not after the evaluation
    names = [_name(model) for model in ([models] if isinstance(models, str | os.PathLike | Run) else models)]
    request = Request(
        models=names,
        bench=[bench] if isinstance(bench, str) else bench,
        out=out or beside(names),
        data=data,
        ks=sorted(k) or sorted({1, samples}),
        settings=Settings(template, samples, temperature, top_p, max_tokens, seed, seconds, limit),
        assignments=settings,
    )
    outside_loop(lambda: run_request(request))
    return frame(benchmark_rows(read_results(request.out / RESULTS)), BENCHMARKS)


def _name(model: Model) -> str:
    return str(model.path) if isinstance(model, Run) else model_or_run(os.fspath(model))
