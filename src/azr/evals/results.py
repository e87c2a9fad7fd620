"""From records to numbers: pass@k with intervals, paired differences, and a table."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from azr.analysis.statistics import Interval, bootstrap_gain, bootstrap_mean, mean_of_kinds, pass_at_k, wilson
from azr.analysis.text import in_points

ALL = "all"
MEAN = "mean of kinds"
"""Every kind has the same weight, however many tasks it has. Training reports this accuracy for its held-out set."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one model on one benchmark."""

    model: str  # its name in the table
    benchmark: str  # its name in the table
    ids: Sequence[str]  # problems, in order
    groups: Sequence[str]  # kind or difficulty of each problem
    samples: int  # completions per problem [n]
    correct: Sequence[int]  # correct completions of each problem [c]
    reasons: Mapping[str, int]  # number of completions per reason of the verdict
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Accuracies to beat, by name and part; only self-play sets have any, and their groups are kinds."""

    def shares(self, k: int, part: str = ALL) -> dict[str, list[float]]:
        """Estimates of pass@k for the problems of a part; by kind for `MEAN`, else under the part's name."""
        found: dict[str, list[float]] = defaultdict(list)
        for correct, group in zip(self.correct, self.groups, strict=True):
            if part in (ALL, MEAN, group):
                found[group if part == MEAN else part].append(pass_at_k(self.samples, correct, k))
        return found

    def parts(self) -> dict[str, int]:
        """Number of problems in each part: `ALL`, the groups if there are any, and for several kinds `MEAN`."""
        groups = Counter(group for group in self.groups if group)
        mean = {MEAN: len(self.groups)} if self.baselines and len(groups) > 1 else {}
        return {ALL: len(self.groups), **groups, **mean}


def score(
    model: str,
    benchmark: str,
    records: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> Scored:
    """Count the correct completions in the harness's records."""
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
    """The numbers of one model on one benchmark, by part and k."""
    parts = {}
    for part, problems in scored.parts().items():
        shares = {str(k): scored.shares(k, part) for k in ks}
        passes = {k: {"value": mean_of_kinds(of), "interval": _interval(of)} for k, of in shares.items()}
        baselines = {name: values[part] for name, values in scored.baselines.items() if part in values}
        parts[part] = {"problems": problems, "pass": passes, **baselines}
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
    """Each later one of `models` against the first, by benchmark and part."""
    by_benchmark: dict[str, list[Scored]] = defaultdict(list)
    for scored in results:
        if scored.model in models:
            by_benchmark[scored.benchmark].append(scored)
    return [
        {
            "benchmark": benchmark,
            "from": first.model,
            "to": other.model,
            "part": part,
            "difference": {str(k): difference(first, other, k, part) for k in ks},
        }
        for benchmark, (first, *others) in by_benchmark.items()
        for other in others
        for part in first.parts()
    ]


def table(results: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> Table:
    """Benchmarks as rows, contestants as columns; `results` are from `summary`, `differences` from `comparison`."""
    titles = list(dict.fromkeys(result["model"] for result in results))
    numbers = {(result["benchmark"], result["model"]): result["parts"] for result in results}
    gains = {(line["benchmark"], line["part"], line["to"]): line["difference"] for line in differences}
    baselines = [name for of in numbers.values() for name in of[ALL] if name not in ("problems", "pass")]
    baselines = list(dict.fromkeys(baselines))
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("benchmark", "problems", ""):
        drawn.add_column(heading, justify="right" if heading == "problems" else "left", no_wrap=True)
    for heading in (*titles, *baselines):
        drawn.add_column(Text(heading), justify="right", overflow="fold")
    for name in dict.fromkeys(result["benchmark"] for result in results):
        columns = [numbers.get((name, title)) for title in titles]
        for part, about in next(filter(None, columns)).items():
            beside = [f"{about[baseline]:.1%}" if baseline in about else "-" for baseline in baselines]
            changes = [gains.get((name, part, title)) for title in titles]
            for k in about["pass"]:
                passes = [of and of[part]["pass"][k] for of in columns]
                label = [name if part == ALL else f"  {part}", str(about["problems"]), f"pass@{k}"]
                drawn.add_row(*label, *(f"{of['value']:.1%}" if of else "-" for of in passes), *beside)
                drawn.add_row(
                    "", "", "95 % interval", *(_span(of["interval"]) if of else "" for of in passes), style="dim"
                )
                if any(changes):
                    shown = [in_points(of[k]["value"], of[k]["interval"]) if of else "" for of in changes]
                    drawn.add_row("", "", "difference", *shown, style="dim")
    return drawn


def _interval(shares: Mapping[str, Sequence[float]]) -> Interval:
    """Wilson's if every problem was passed or failed; else, and for a mean of kinds, a bootstrap over problems."""
    marks = [share for of in shares.values() for share in of]
    if len(shares) < 2 and all(mark in (0.0, 1.0) for mark in marks):
        return wilson(round(sum(marks)), len(marks))
    return bootstrap_mean(shares)


def _span(interval: Interval) -> str:
    low, high = interval
    return f"({100 * low:.1f} to {100 * high:.1f})"
