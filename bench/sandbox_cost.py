"""What a program costs in processor time, and whose: for tuning on a machine that others use at the same time.

    python bench/sandbox_cost.py                       # 6 rounds of 400 validations
    python bench/sandbox_cost.py --single --tier seccomp

Processor time moves far less with the load than programs per second do. Each round runs a batch in the sandbox and then
in the reference implementation's design (see `bench/sandbox.py`); µs a program, least, median and most of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from processes import children, own_processor_seconds, processor_seconds
from sandbox import programs, reference, sandboxed

from azr.sandbox import LocalSandbox


def by_kind(jailed: set[int]) -> dict[str, float]:
    """Give the processor time spent so far by this process, its checkers, and its zygotes with their children."""
    spent = {"host": own_processor_seconds()}
    for process in jailed:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        kind = words[words.index("-c") + 2]
        spent[kind] = spent.get(kind, 0.0) + processor_seconds([process])
    return spent


def measure(rounds: int, count: int, tier: str, *, determinism: bool) -> dict[str, list[float]]:
    """Give the µs a program of each kind of process in each round."""
    costs: dict[str, list[float]] = {}
    with (
        asyncio.Runner() as runner,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        sandbox = LocalSandbox(tier=tier)  # type: ignore[arg-type]
        runner.run(sandboxed(sandbox, programs(50), inputs=1, determinism=determinism))
        reference(pool, programs(50))
        (worker,) = pool._processes
        wanted = (3 if determinism else 2) * len(os.sched_getaffinity(0))
        # This process starts guards, and a guard one of them.
        while len(jailed := children(children({os.getpid()}) - {worker})) < wanted:
            runner.run(asyncio.sleep(0.1))
        for number in range(rounds):
            batch = programs(count, seed=number)
            before = by_kind(jailed)
            runner.run(sandboxed(sandbox, batch, inputs=1, determinism=determinism))
            row = {kind: spent - before[kind] for kind, spent in by_kind(jailed).items()}
            row["sandbox in all"] = sum(row.values())
            start = own_processor_seconds() + processor_seconds([worker])
            reference(pool, batch)
            row["reference in all"] = own_processor_seconds() + processor_seconds([worker]) - start
            for kind, seconds in row.items():
                costs.setdefault(kind, []).append(seconds / count * 1e6)
        runner.run(sandbox.close())
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--tier", choices=["auto", "full", "seccomp"], default="auto")
    parser.add_argument("--single", action="store_true", help="run each program once, not as a validation")
    arguments = parser.parse_args()
    costs = measure(arguments.rounds, arguments.programs, arguments.tier, determinism=not arguments.single)
    print(f"{'µs of processor time':22}{'min':>10}{'median':>10}{'max':>10}")
    for kind, runs in costs.items():
        print(f"{kind:22}{min(runs):10.0f}{statistics.median(runs):10.0f}{max(runs):10.0f}")


if __name__ == "__main__":
    main()
