"""How much memory does the demo take at most, over all of its processes?

    python bench/memory.py [--steps 2] [KEY=VALUE ...]

Memory is the proportional set size: a page that several processes share counts once. It is read twice a second, so that
a shorter peak may be missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import children


def proportional_megabytes(process: int) -> float:
    """Give the proportional set size of a process; 0 for one that has gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="of the preset, such as learner.processes=2")
    asked = parser.parse_intermixed_args()
    most, own, count = 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "demo", f"steps={asked.steps}", f"output_dir='{folder}'", *asked.overrides]
        run = subprocess.Popen([sys.executable, "-m", "azr", *words], stdout=subprocess.DEVNULL)
        while run.poll() is None:
            family = {run.pid}
            while more := children(family) - family:
                family |= more
            sizes = {process: proportional_megabytes(process) for process in family}
            if sum(sizes.values()) > most:
                most, own, count = sum(sizes.values()), sizes[run.pid], len(family)
            time.sleep(0.5)
    print(f"peak: {most:.0f} MiB in {count} processes, of which {own:.0f} MiB in the one that samples and learns")


if __name__ == "__main__":
    main()
