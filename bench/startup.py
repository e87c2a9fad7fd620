"""How long does azr take to start, against `import torch`, and how long until the demo samples its first token?

    python bench/startup.py [--rounds 5]

Each round starts every program once, in turn, so that all see the same load of the machine. Where other work runs, only
the ratios mean something.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

FIRST_TOKEN = """
import os, sys
from azr import cli, startup
startup.begin()  # as the command does first
from azr.rollout.local.decode import Decoder
Decoder._draw = lambda *_: os._exit(0)  # draws the first token of the prompts that were read first
sys.argv = ["azr", "train", "demo", "steps=1", "learner.processes=1", "output_dir='{folder}'"]
cli.main()
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of wall and processor time of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "import torch": [python, "-c", "import torch"],
            "azr --help": [python, "-m", "azr", "--help"],
            "first token": [python, "-c", FIRST_TOKEN.format(folder=folder)],
        }
        for command in commands.values():
            timed(command)  # reads the files into memory
        times = {name: [timed(command) for _ in range(1)] for name, command in commands.items()}
        for _ in range(rounds - 1):
            for name, command in commands.items():
                times[name].append(timed(command))
    for name, found in times.items():
        for column, title in enumerate(("wall", "processor")):
            seconds = [row[column] for row in found]
            ratios = [row[column] / torch[column] for row, torch in zip(found, times["import torch"], strict=True)]
            print(
                f"{name:13} {title:9} s: min {min(seconds):.2f} median {median(seconds):.2f}"
                f"   / import torch: min {min(ratios):.2f} median {median(ratios):.2f}   runs {len(found)}"
            )


if __name__ == "__main__":
    main()
