"""From records to numbers: pass@k with intervals, paired differences, one table and one JSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from azr.analysis.statistics import (
    Interval,
    bootstrap_gain,
    bootstrap_mean,
    mean_of_kinds,
    pass_at_k,
    wilson,
)
from azr.analysis.text import in_points

ALL = "all"
MEAN = "mean of kinds"
"""Each kind counts the same, however many tasks it has: what training tells of its held-out set."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model did on one benchmark.

    Attributes:
        model: its name in the table.
        benchmark: its name in the table.
        ids: problems, in order.
        groups: kind or difficulty of each problem.
        samples: completions a problem [n].
        correct: right ones a problem [c].
        reasons: how many completions came to what.
        baselines: accuracies to beat, by name and part; empty where there are none. They are known for self-play sets
            alone, whose groups are kinds.
    """

    model: str
    benchmark: str
    ids: Sequence[str]
    groups: Sequence[str]
    samples: int
    correct: Sequence[int]
    reasons: Mapping[str, int]
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def shares(self, k: int, part: str = ALL) -> dict[str, list[float]]:
        """Estimate of pass@k for each problem of a part; by kind for `MEAN`, else under the part's name."""
        found: dict[str, list[float]] = {}
        for correct, group in zip(self.correct, self.groups, strict=True):
            if part in (ALL, MEAN, group):
                name = group if part == MEAN else part
                found.setdefault(name, []).append(pass_at_k(self.samples, correct, k))
        return found

    def size(self, part: str) -> int:
        """Problems of a part."""
        return len(self.groups) if part in (ALL, MEAN) else list(self.groups).count(part)

    def parts(self) -> list[str]:
        """`ALL`, then the groups, where there are several; for kinds of self-play their mean too."""
        groups = [group for group in dict.fromkeys(self.groups) if group]
        return [ALL, *groups, *([MEAN] if self.baselines and len(groups) > 1 else [])]


def score(
    model: str,
    benchmark: str,
    records: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Scored:
    """Count what the harness recorded."""
    marks = [[sample["score"] >= 1 for sample in record["samples"]] for record in records]
    return Scored(
        model,
        benchmark,
        [record["id"] for record in records],
        [record["group"] for record in records],
        min(map(len, marks), default=0),
        [sum(of) for of in marks],
        Counter(sample["reason"] for record in records for sample in record["samples"]),
        baselines or {},
    )


def summary(scored: Scored, ks: Sequence[int]) -> dict[str, Any]:
    """The numbers of one model on one benchmark, by group and by k."""
    parts = {}
    for part in scored.parts():
        passes = {}
        for k in ks:
            shares = scored.shares(k, part)
            passes[str(k)] = {"value": mean_of_kinds(shares), "interval": _interval(shares)}
        baselines = {name: values[part] for name, values in scored.baselines.items() if part in values}
        parts[part] = {"problems": scored.size(part), "pass": passes, **baselines}
    correct = dict(zip(scored.ids, scored.correct, strict=True))
    about = {"model": scored.model, "benchmark": scored.benchmark, "samples": scored.samples}
    return about | {"parts": parts, "reasons": dict(scored.reasons), "correct": correct}


def difference(first: Scored, other: Scored, k: int, part: str = ALL) -> dict[str, Any]:
    """How much better `other` is than `first` on the same problems, with a paired bootstrap interval.

    Raises:
        ValueError: they were not asked the same problems.
    """
    if list(first.ids) != list(other.ids):
        raise ValueError(f"{first.model} and {other.model} were not asked the same problems of {first.benchmark}")
    one, two = first.shares(k, part), other.shares(k, part)
    return {"value": mean_of_kinds(two) - mean_of_kinds(one), "interval": bootstrap_gain(one, two)}


def comparison(results: Sequence[Scored], ks: Sequence[int], models: Sequence[str]) -> list[dict[str, Any]]:
    """Every later one of `models` against the first, benchmark by benchmark."""
    lines = []
    for of in _by_benchmark(results).values():
        first, *others = [scored for scored in of if scored.model in models] or [of[0]]
        for other in others:
            about = {"benchmark": first.benchmark, "from": first.model, "to": other.model}
            for part in first.parts():
                gains = {str(k): difference(first, other, k, part) for k in ks}
                lines.append({**about, "part": part, "difference": gains})
    return lines


def table(results: Sequence[Scored], ks: Sequence[int], models: Sequence[str]) -> Table:
    """Benchmarks down, contestants across; under each later one of `models` its difference to the first."""
    titles = list(dict.fromkeys(scored.model for scored in results))
    baselines = list(dict.fromkeys(name for scored in results for name in scored.baselines))
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("benchmark", "problems", ""):
        drawn.add_column(heading, justify="right" if heading == "problems" else "left", no_wrap=True)
    for heading in (*titles, *baselines):
        drawn.add_column(Text(heading), justify="right", overflow="fold")
    for name, of in _by_benchmark(results).items():
        found = {scored.model: scored for scored in of}
        first = next((found[model] for model in models if model in found), None)
        for part in of[0].parts():
            beside = [_share(of[0].baselines.get(baseline, {}).get(part)) for baseline in baselines]
            for k in ks:
                label = [name if part == ALL else f"  {part}", str(of[0].size(part)), f"pass@{k}"]
                values, spans, gains = zip(*(_cell(found.get(title), first, part, k) for title in titles), strict=True)
                drawn.add_row(*label, *values, *beside)
                drawn.add_row("", "", "95 % interval", *spans, style="dim")
                if any(gain and title in models for gain, title in zip(gains, titles, strict=True)):
                    shown = [gain if title in models else "" for gain, title in zip(gains, titles, strict=True)]
                    drawn.add_row("", "", "difference", *shown, style="dim")
    return drawn


def _cell(scored: Scored | None, first: Scored | None, part: str, k: int) -> tuple[str, str, str]:
    """Value, interval and difference to the first model."""
    if scored is None:
        return "-", "", ""
    shares = scored.shares(k, part)
    value = _share(mean_of_kinds(shares) if shares else None)
    if first is None or scored is first:
        return value, _span(_interval(shares)), ""
    gain = difference(first, scored, k, part)
    return value, _span(_interval(shares)), in_points(gain["value"], gain["interval"])


def _by_benchmark(results: Sequence[Scored]) -> dict[str, list[Scored]]:
    found: dict[str, list[Scored]] = {}
    for scored in results:
        found.setdefault(scored.benchmark, []).append(scored)
    return found


def _interval(shares: Mapping[str, Sequence[float]]) -> Interval:
    """Wilson's where every problem was passed or not; else, and for a mean of kinds, a bootstrap over problems."""
    marks = [share for of in shares.values() for share in of]
    if len(shares) < 2 and all(mark in (0.0, 1.0) for mark in marks):
        return wilson(round(sum(marks)), len(marks))
    return bootstrap_mean(shares)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _span(interval: Interval) -> str:
    low, high = interval
    return f"({100 * low:.1f} to {100 * high:.1f})"
