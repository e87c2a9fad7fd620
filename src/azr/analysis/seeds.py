"""Settings over seeds: what each gained, how they differ by seed, and their curves with bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from azr.analysis.runs import gain
from azr.analysis.statistics import over_runs

Records = Sequence[Mapping[str, Any]]
"""Lines of a run's metrics.jsonl."""
Runs = Mapping[str, Mapping[int, Records]]
"""Finished runs by setting and seed."""

POINTS = 40
"""Points of a curve, at most; each is the mean of neighbouring steps."""
COLUMNS = {
    "valid": ("Valid proposals", "Share of proposals that run, are deterministic and follow the rules."),
    "solve_rate": ("Solve rate in training", "Share of attempts that are right, on the tasks of that step."),
    "learnability": ("Mean learnability", "What new tasks earn (Eq. 4), before penalties."),
}


def table(runs: Runs) -> list[dict[str, Any]]:
    """A row for each setting, as shares: means over runs, with 95 % intervals by Student's t.

    `difference` is the mean over seeds of a setting's gain less that of the first setting with the same seed. Settings
    and runs without two evaluations are left out.
    """
    gains = {
        setting: {seed: rise for seed, of in by_seed.items() if (rise := gain(of)) is not None}
        for setting, by_seed in runs.items()
    }
    rows: list[dict[str, Any]] = []
    first: Mapping[int, float] | None = None
    for setting, by_seed in gains.items():
        if not by_seed:
            continue
        measured = [_held_out(runs[setting][seed]) for seed in by_seed]
        pairs = [by_seed[seed] - first[seed] for seed in by_seed if seed in first] if first is not None else []
        first = by_seed if first is None else first
        rows.append(
            {
                "setting": setting,
                "runs": len(by_seed),
                "before": fmean(of[0]["mean"]["accuracy"] for of in measured),
                "after": _estimate([of[-1]["mean"]["accuracy"] for of in measured]),
                "kinds": {
                    kind: fmean(of[-1]["kinds"][kind]["accuracy"] for of in measured)
                    for kind in measured[0][-1]["kinds"]
                },
                "gain": _estimate(list(by_seed.values())),
                "difference": _estimate(pairs) | {"pairs": len(pairs)} if pairs else None,
            }
        )
    return rows


def curves(runs: Runs) -> list[dict[str, Any]]:
    """Figures with a line for each setting: the mean over runs, and its 95 % interval by Student's t as a band.

    A point takes only those runs that measured something there.
    """
    note = "Mean over runs of the mean over kinds. The band is its 95 % interval over seeds."
    figures = [{"id": "sweep-held-out", "title": "Held-out accuracy", "note": note, "rows": _lines(runs, _accuracies)}]
    for name, (title, about) in COLUMNS.items():
        rows = _lines(runs, lambda records, name=name: _column(records, name))  # type: ignore[misc]  # bound now
        figures.append({"id": f"sweep-{name}", "title": title, "note": f"{about} {note}", "rows": rows})
    return [figure for figure in figures if figure["rows"]]


def guess(runs: Runs) -> float | None:
    """Accuracy of a random guess, from the first run that has it."""
    found = (at["guess"] for by_seed in runs.values() for of in by_seed.values() for at in _held_out(of))
    return next(found, None)


def _estimate(values: Sequence[float]) -> dict[str, Any]:
    mean, interval = over_runs(values)
    return {"mean": mean, "interval": interval}


def _held_out(records: Records) -> list[dict[str, Any]]:
    return [{"step": record["step"]} | record["held_out"] for record in records if "held_out" in record]


def _column(records: Records, name: str) -> dict[int, float]:
    """By step, the mean over kinds of one of their metrics."""
    steps = {record["step"]: [of[name] for of in record["kinds"].values()] for record in records if "kinds" in record}
    known = {step: [value for value in values if value is not None] for step, values in steps.items()}
    return {step: fmean(values) for step, values in known.items() if values}


def _accuracies(records: Records) -> dict[int, float]:
    """By step, the mean held-out accuracy."""
    return {at["step"]: at["mean"]["accuracy"] for at in _held_out(records)}


def _lines(runs: Runs, column: Callable[[Records], Mapping[int, float]]) -> list[dict[str, Any]]:
    """Points of a line for each setting, as shares from 0 to 1; without a band where there is one run."""
    columns = {setting: [column(of) for of in by_seed.values()] for setting, by_seed in runs.items()}
    width = -(-max((len(one) for of in columns.values() for one in of), default=1) // POINTS)
    rows: list[dict[str, Any]] = []
    for setting, of in columns.items():
        thin = [_thinned(one, width) for one in of]
        for step in sorted({step for one in thin for step in one}):
            mean, interval = over_runs([one[step] for one in thin if step in one])
            low, high = interval or (mean, mean)
            shown = {"value": mean, "low": max(0.0, low), "high": min(1.0, high), "band": interval is not None}
            rows.append({"step": step, "series": setting} | shown)
    return rows


def _thinned(column: Mapping[int, float], width: int) -> Mapping[int, float]:
    """The mean of every `width` neighbouring steps, at the last of them."""
    if width == 1:
        return column
    parts: dict[int, list[float]] = {}
    for step, value in column.items():
        parts.setdefault(-(-step // width) * width, []).append(value)
    return {step: fmean(values) for step, values in parts.items()}
