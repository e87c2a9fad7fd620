"""One table of the ratios that azr's benchmarks measure, with the floors that nothing can beat on this machine.

    python bench/table.py                # what `make bench` runs, about half an hour on two idle cores
    python bench/table.py --quick        # fewer rounds, without the sides of TRL

Each row is from a script of this folder, which measures both sides of its ratio in turn, in one run.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
COPIED = 256 * 2**20
"""Bytes of a memory copy: more than the caches hold."""
SIDE = 1024
"""Of the matrices whose product is timed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio: its least and median, and the number of measurements."""

    name: str
    least: float
    median: float
    runs: int


@dataclass(frozen=True, slots=True)
class Script:
    """A benchmark, its arguments (in full, and quickly), and what its lines look like, with the groups of a `Row`."""

    file: str
    full: str
    quick: str
    pattern: str


NUMBERS = r"min\s+(?P<least>[\d.]+)\s+median\s+(?P<median>[\d.]+)\s+runs\s+(?P<runs>\d+)"
SCRIPTS = (
    Script(
        "sandbox.py",
        "--rounds 5",
        "--rounds 3 --programs 100",
        r"^(?P<name>[\w ]+ / [\w ]+?)\s{2,}(?P<least>[\d.]+)\s+(?P<median>[\d.]+)\s+[\d.]+(?:\s+[\d.]+)?$",
    ),
    Script("generate.py", "--rounds 7", "--rounds 5", rf"^(?P<name>azr / generate): {NUMBERS}"),
    Script("products.py", "--rounds 5", "--rounds 3", rf"^(?P<name>(?:oneDNN|kernel) / MKL, \d+ rows): {NUMBERS}"),
    Script("learn.py", "--rounds 7", "--rounds 5", rf"^(?P<name>before / now, \w+ time): {NUMBERS}"),
    Script(
        "step.py",
        "--rounds 5",
        "--rounds 5 --sides azr azr-2 before",
        r"^(?P<name>\S+ / azr\S*)\s+min (?P<least>[\d.]+)\s+median (?P<median>[\d.]+)\s+runs (?P<runs>\d+)",
    ),
    Script(
        "startup.py",
        "--rounds 5",
        "--rounds 3",
        r"^(?P<name>azr --help|first token)\s+wall .*(?P<base>/ import torch): min (?P<least>[\d.]+) median"
        r" (?P<median>[\d.]+)\s+runs (?P<runs>\d+)",
    ),
)


def rows(script: Script, text: str, rounds: int) -> list[Row]:
    """The ratios in a script's output.

    Args:
        script: that printed it.
        text: its output.
        rounds: the number of measurements, if the lines do not say it.

    Raises:
        ValueError: there are none.
    """
    found = []
    for match in re.finditer(script.pattern, text, re.MULTILINE):
        part = match.groupdict()
        name = " ".join(filter(None, (part["name"], part.get("base"))))
        found.append(Row(name, float(part["least"]), float(part["median"]), int(part.get("runs") or rounds)))
    if not found:
        raise ValueError(f"bench/{script.file} printed no ratio:\n{text}")
    return found


def floors(rounds: int) -> Iterator[str]:
    """Rates of a matrix product and of a memory copy, in one thread."""
    torch.set_num_threads(1)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    source = torch.zeros(COPIED // 4)
    target = torch.empty_like(source)
    products, copies = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        torch.mm(left, right)
        between = time.perf_counter()
        target.copy_(source)
        products.append(2 * SIDE**3 / (between - start) / 1e9)
        copies.append(2 * COPIED / (time.perf_counter() - between) / 1e9)
    for name, unit, rates in (("matrix product", "GFLOP/s", products[1:]), ("memory copy", "GB/s", copies[1:])):
        yield f"| {name} | {min(rates):.0f} {unit} | {statistics.median(rates):.0f} {unit} | {rounds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, without the sides of TRL")
    arguments = parser.parse_args()
    print("| ratio | least | median | runs |\n| --- | --- | --- | --- |", flush=True)
    for script in SCRIPTS:
        words = (script.quick if arguments.quick else script.full).split()
        command = [sys.executable, str(FOLDER / script.file), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for row in rows(script, done.stdout, int(words[1])):
            print(f"| {row.name} | {row.least:.2f} | {row.median:.2f} | {row.runs} |", flush=True)
    print("\n| floor, one thread | least | median | runs |\n| --- | --- | --- | --- |")
    for line in floors(9):
        print(line)


if __name__ == "__main__":
    main()
