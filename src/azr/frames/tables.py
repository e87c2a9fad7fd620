"""Frames from rows. The columns and their types are the same however many rows there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azr.analysis.metrics import numbers
from azr.errors import UserError
from azr.export.rows import Column

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

EVALUATIONS = {
    "step": Column("int64", "after which the model was evaluated; 0: untrained"),
    "kind": Column("string", "of the tasks; mean: the mean of kinds"),
    "accuracy": Column("float64", "share of the held-out tasks that were solved, at temperature 0"),
    "low": Column("float64", "lower end of the 95 % interval of the accuracy"),
    "high": Column("float64", "upper end of that interval"),
    "tasks": Column("int64", "number of tasks"),
    "gain": Column("float64", "accuracy less that of the untrained model; only for the mean, and not for step 0"),
    "gain_low": Column("float64", "lower end of the 95 % interval of the gain, paired by task"),
    "gain_high": Column("float64", "upper end of that interval"),
    "guess": Column("float64", "accuracy of a random guess; only for the mean"),
}

BENCHMARKS = {
    "model": Column("string", "as it was named"),
    "benchmark": Column("string", "as it was named"),
    "part": Column("string", "all, or a kind or difficulty of the problems"),
    "problems": Column("int64", "number of problems"),
    "k": Column("int64", "of pass@k"),
    "value": Column("float64", "pass@k"),
    "low": Column("float64", "lower end of its 95 % interval"),
    "high": Column("float64", "upper end of that interval"),
    "gain": Column("float64", "value less that of the first model; missing for the first"),
    "gain_low": Column("float64", "lower end of the 95 % interval of the gain, paired by problem"),
    "gain_high": Column("float64", "upper end of that interval"),
}

DTYPES = {"string": "string", "int32": "Int64", "int64": "Int64", "bool": "boolean", "float64": "float64"}
"""pandas' types that have a missing value, by Arrow type; a list is an object."""


def frame(rows: Iterable[Row], columns: Mapping[str, Column]) -> pd.DataFrame:
    """A frame with these columns.

    Raises:
        UserError: the extra `frames` is missing.
    """
    pd, kept = pandas(), list(rows)
    made = {}
    for name, column in columns.items():
        values = [row.get(name) for row in kept]
        made[name] = pd.Series(values, dtype=DTYPES.get(column.type, "object"))
    return pd.DataFrame(made)


def metrics_frame(records: Iterable[Row]) -> pd.DataFrame:
    """One row per step from the lines of metrics.jsonl: numbers by path, and the alarms in words."""
    pd = pandas()
    rows = [dict(numbers(record)) | _labels(record) for record in records if "kinds" in record]
    names = dict.fromkeys(["step", *(name for row in rows for name in row if name != "alarms"), "alarms"])
    counts = {name for name in names if "/proposals/" in name or "/answers/" in name}
    types = {"step": "Int64", "alarms": "string"} | dict.fromkeys(counts, "Int64")
    made = {}
    for name in names:
        values = [row.get(name, 0 if name in counts else None) for row in rows]  # a reason that is not there: 0 times
        made[name] = pd.Series(values, dtype=types.get(name, "float64"))
    return pd.DataFrame(made)


def _labels(record: Row) -> dict[str, Any]:
    return {"step": record["step"], "alarms": "; ".join(record.get("alarms", []))}


def evaluation_rows(records: Iterable[Row]) -> Iterator[Row]:
    """Rows of `EVALUATIONS` from the lines of metrics.jsonl: the mean, then each kind."""
    for record in records:
        if (found := record.get("held_out")) is None:
            continue
        tasks = sum(of["tasks"] for of in found["kinds"].values())
        gain = found.get("gain")
        about = {"tasks": tasks, "guess": found.get("guess"), "gain": gain and gain["accuracy"]}
        about |= _interval(gain, "gain_low", "gain_high")
        for kind, of in {"mean": found["mean"] | about, **found["kinds"]}.items():
            yield {"step": record["step"], "kind": kind, **of, **_interval(of, "low", "high")}


def benchmark_rows(results: Row) -> Iterator[Row]:
    """Rows of `BENCHMARKS` from the contents of results.json."""
    gains = {
        (line["benchmark"], line["to"], line["part"], k): of
        for line in results["differences"]
        for k, of in line["difference"].items()
    }
    for result in results["results"]:
        for part, about in result["parts"].items():
            for k, of in about["pass"].items():
                gain = gains.get((result["benchmark"], result["model"], part, k))
                yield {
                    **{name: result[name] for name in ("model", "benchmark")},
                    "part": part,
                    "problems": about["problems"],
                    "k": int(k),
                    "value": of["value"],
                    **_interval(of, "low", "high"),
                    **({"gain": gain["value"]} if gain else {}),
                    **_interval(gain, "gain_low", "gain_high"),
                }


def read_results(path: Path) -> Row:
    """The contents of results.json, as `azr eval` wrote it.

    Raises:
        UserError: the file cannot be read; it was changed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        list(benchmark_rows(found))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate again with azr eval") from None
    else:
        assert isinstance(found, dict)
        return found


def pandas() -> Any:
    """The library.

    Raises:
        UserError: the extra `frames` is missing.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError(f"frames need the extra `frames` ({error}): pip install 'azr[frames]'") from error
    return pd


def _interval(found: Row | None, low: str, high: str) -> dict[str, float]:
    ends: Sequence[float] = found["interval"] if found else ()
    return dict(zip((low, high), ends, strict=bool(ends)))
