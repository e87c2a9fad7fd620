"""The benchmarks by name. Each module reads one publisher's own format."""

from collections.abc import Callable
from pathlib import Path

from azr.evals.benchmarks import apps, cruxeval, evalplus, humaneval, livecodebench, mbpp
from azr.evals.problems import Benchmark

LOADERS: dict[str, Callable[[Path | None], Benchmark]] = {
    "humaneval": humaneval.load,
    "mbpp": mbpp.load,
    "mbpp-sanitized": mbpp.load_sanitized,
    "humaneval+": evalplus.load_humaneval,
    "mbpp+": evalplus.load_mbpp,
    "apps": apps.load,
    "livecodebench": livecodebench.load_generation,
    "livecodebench-execution": livecodebench.load_execution,
    "cruxeval-i": cruxeval.load_input,
    "cruxeval-o": cruxeval.load_output,
}
"""Each reads a benchmark from a folder with its publisher's files, or from the hub (None).

It raises UserError if there is no such file, or if the hub cannot be reached.
"""
