"""The results of `azr eval` for the page: the table, and every completion."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from azr.analysis.archive import pack, shortened
from azr.errors import UserError
from azr.evals.command import COMPLETIONS, RESULTS
from azr.run.log import Log

BLOCK = 40
"""Problems per compressed block of texts."""


def evaluation_data(folder: Path, budget: int) -> dict[str, Any]:
    """A folder of `azr eval` as JSON. Beyond `budget` characters of texts, blocks of problems are left out, evenly.

    Raises:
        UserError: a file cannot be read.
    """
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        table, differences = results["results"], results["differences"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / RESULTS}: not the results of azr eval: {error}") from error
    files = [_file(path) for path in sorted((folder / COMPLETIONS).glob("*/*.jsonl"))]
    left_out = _fit(files, budget)
    notes = [f"{left_out:,} blocks of {BLOCK} completions are left out, to keep the page small"] if left_out else []
    return {
        "name": folder.resolve().name if folder.name != "evals" else f"{folder.resolve().parent.name}/evals",
        "settings": results.get("settings", {}),
        "results": [{key: value for key, value in row.items() if key != "correct"} for row in table],
        "differences": differences,
        "files": files,
        "notes": notes,
    }


def _file(path: Path) -> dict[str, Any]:
    """One model on one benchmark: the verdicts, and the texts in blocks."""
    records = [record for _, record in Log(path).new()]
    problems = [record for record in records if "id" in record]
    header = next((record for record in records if "id" not in record), {})
    return {
        "model": path.parent.name,
        "benchmark": header.get("benchmark", path.stem),
        "problems": [(p["id"], p.get("group", ""), [_verdict(sample) for sample in p["samples"]]) for p in problems],
        "blocks": list(_blocks(problems)),
    }


def _verdict(sample: Mapping[str, Any]) -> tuple[float, str, int | None, bool]:
    return sample["score"], sample["reason"], sample.get("tokens"), bool(sample.get("finished", True))


def _blocks(problems: Sequence[Mapping[str, Any]]) -> Iterator[str | None]:
    """Per problem [prompt, [[completion, detail], ...]]."""
    for begin in range(0, len(problems), BLOCK):
        block = []
        for problem in problems[begin : begin + BLOCK]:
            texts = [(shortened(one["completion"]), shortened(one.get("detail", ""))) for one in problem["samples"]]
            block.append((shortened(problem.get("prompt", "")), texts))
        yield base64.b64encode(pack(block)).decode("ascii")


def _fit(files: Sequence[dict[str, Any]], budget: int) -> int:
    """Leave out every other block until the rest fits; returns how many are left out."""
    places = [(file["blocks"], at) for file in files for at in range(len(file["blocks"]))]
    stride = 1
    while sum(len(blocks[at] or "") for blocks, at in places) > budget:
        stride *= 2
        for number, (blocks, at) in enumerate(places):
            if number % stride:
                blocks[at] = None
        if stride > len(places):
            break
    return sum(blocks[at] is None for blocks, at in places)
