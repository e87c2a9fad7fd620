"""How many programs a second: the jail against its floors, all in one run, interleaved.

    python bench/sandbox.py                 # 5 rounds of 300 programs
    python bench/sandbox.py --rounds 9 --programs 600 --tier seccomp

Every round measures every contender once, in an order of its own, so that what else the machine does falls on all of
them alike. Ratios are taken within a round; their minimum, median and maximum are printed.

Contenders:
    fork floor      an interpreter with the modules of a zygote imported, on each processor: fork, exit, wait, nothing
                    else. What no design with a process per program can beat.
    bare floor      the same with nothing imported: a smaller process forks faster.
    in-process      exec and call in this interpreter, without isolation.
    subprocess      `python -I -S -c` per program.
    reference       the reference implementation's design: a pool of one persistent worker, no isolation; a validation
                    (parse, banned imports, two runs compared, gold value) is one round trip, both runs in one process.
    single          `LocalSandbox`, one input.
    10 inputs       `LocalSandbox`, ten inputs of one program in a child, counted as ten.
    validation      `LocalSandbox` with `determinism`: parse, policy, two processes with two hash seeds, gold value.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from azr.sandbox import Job, LocalSandbox, Policy
from azr.sandbox.guest.preload import PRELOADED

FORBIDDEN = frozenset({"os", "sys", "socket", "subprocess", "random", "time"})
Program = tuple[str, tuple[str, ...]]


def programs(count: int, seed: int = 0) -> list[Program]:
    """Make programs like those that proposers write: a function of 5 to 15 lines, no two the same, and ten inputs."""
    rng = random.Random(seed)
    return [rng.choice(_KINDS)(rng) for _ in range(count)]


def _numbers(rng: random.Random) -> Program:
    a, b, c = rng.randint(2, 9), rng.randint(2, 99), rng.randint(3, 17)
    source = f"""\
def f(n: int):
    total, previous = {b}, 1
    for i in range(n % 40):
        if i % {c} == 0:
            total += i * {a}
        elif total % 2:
            total = (total * 3 + 1) % 1000
        previous, total = total, total + previous
    return total
"""
    return source, tuple(str(rng.randint(1, 999)) for _ in range(10))


def _lists(rng: random.Random) -> Program:
    a, b = rng.randint(2, 9), rng.randint(2, 20)
    source = f"""\
def f(numbers: list, k: int):
    seen = {{}}
    for index, number in enumerate(numbers):
        key = (number * {a} + k) % {b}
        seen.setdefault(key, []).append(index)
    groups = sorted(seen.items(), key=lambda item: (-len(item[1]), item[0]))
    result = [[key, sum(places)] for key, places in groups]
    if not result:
        return None
    return result[:k]
"""
    return source, tuple(f"{[rng.randint(0, 50) for _ in range(8)]}, {rng.randint(1, 5)}" for _ in range(10))


def _strings(rng: random.Random) -> Program:
    shift, width = rng.randint(1, 25), rng.randint(2, 6)
    source = f"""\
import re
from collections import Counter

def f(text: str):
    words = re.findall(r"[a-z]+", text.lower())
    counts = Counter(words)
    moved = []
    for word, count in sorted(counts.items()):
        letters = [chr((ord(letter) - 97 + {shift} * count) % 26 + 97) for letter in word]
        moved.append("".join(letters)[:{width}])
    return {{"words": moved, "longest": max(map(len, words), default=0)}}
"""
    words = ["alpha", "beta", "gamma", "delta", "pi", "rho", "sigma"]
    return source, tuple(repr(" ".join(rng.choices(words, k=6))) for _ in range(10))


def _classes(rng: random.Random) -> Program:
    a, b = rng.randint(1, 9), rng.randint(10, 99)
    source = f"""\
class Account:
    def __init__(self, balance):
        self.balance = balance
        self.log = []

    def move(self, amount):
        if self.balance + amount < 0:
            raise ValueError("not enough")
        self.balance += amount - {a}
        self.log.append((amount, self.balance))

def f(amounts: list, start: int):
    account = Account(start + {b})
    for amount in amounts:
        try:
            account.move(amount)
        except ValueError:
            account.log.append(("refused", amount))
    return account.log
"""
    return source, tuple(f"{[rng.randint(-60, 60) for _ in range(6)]}, {rng.randint(0, 90)}" for _ in range(10))


_KINDS = (_numbers, _lists, _strings, _classes)

# --- contenders: each takes programs and gives the number of runs that it did ------------------------------------

_FLOOR = """\
import importlib, os, sys
cpu, count, *names = sys.argv[1:]
os.register_at_fork = lambda **hooks: None
for name in names:
    importlib.import_module(name)
os.sched_setaffinity(0, {int(cpu)})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(count)):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""


def fork_floor(count: int, modules: tuple[str, ...]) -> float:
    """Give forks per second, one interpreter on each processor."""
    cpus = sorted(os.sched_getaffinity(0))
    share = max(1, count // len(cpus))
    forkers = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FLOOR, str(cpu), str(share), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for cpu in cpus
    ]
    for forker in forkers:
        assert forker.stdout is not None
        forker.stdout.readline()
    start = time.perf_counter()
    for forker in forkers:
        forker.communicate(b"go\n")
    return share * len(cpus) / (time.perf_counter() - start)


def in_process(batch: list[Program]) -> int:
    for source, inputs in batch:
        namespace: dict[str, object] = {}
        exec(source, namespace)
        repr(eval(f"f({inputs[0]})", namespace))
    return len(batch)


def subprocess_each(batch: list[Program]) -> int:
    few = batch[: max(1, len(batch) // 20)]
    for source, inputs in few:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"{source}\nprint(repr(f({inputs[0]})))"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return len(few)


def validate(source: str, text: str, *, entry: str = "f") -> str:
    """Validate a proposal as the reference implementation does: banned imports, two runs, and their value."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] in FORBIDDEN for name in names):
            raise ValueError("banned")
    values = []
    for _ in range(2):
        namespace: dict[str, object] = {}
        exec(source, namespace)
        values.append(eval(f"{entry}({text})", namespace))
    if values[0] != values[1]:
        raise ValueError("not deterministic")
    return repr(values[0])


def reference(pool: ProcessPoolExecutor, batch: list[Program]) -> int:
    for source, inputs in batch:
        pool.submit(validate, source, inputs[0]).result()
    return len(batch)


async def sandboxed(sandbox: LocalSandbox, batch: list[Program], *, inputs: int, determinism: bool) -> int:
    policy = Policy(forbidden_modules=FORBIDDEN)
    jobs = [
        Job(program=source, inputs=texts[:inputs], policy=policy, determinism=determinism) for source, texts in batch
    ]
    for outcomes in await asyncio.gather(*map(sandbox.run, jobs)):
        assert all(outcome.ok or outcome.reason == "error" for outcome in outcomes), outcomes
    return len(batch) * inputs


# --- the run -----------------------------------------------------------------------------------------------------

RATIOS = (
    ("single", "fork floor", 0.55),
    ("10 inputs", "fork floor", 4.0),
    ("validation", "reference", 0.6),
    ("single", "bare floor", None),
    ("single", "in-process", None),
    ("single", "subprocess", None),
)


def measure(rounds: int, count: int, tier: str) -> dict[str, list[float]]:
    """Give programs per second of each contender in each round."""
    speeds: dict[str, list[float]] = {}
    rng = random.Random(1)
    with (
        asyncio.Runner() as runner,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        sandbox = LocalSandbox(tier=tier)  # type: ignore[arg-type]

        def jailed(batch: list[Program], inputs: int = 1, determinism: bool = False) -> int:
            return runner.run(sandboxed(sandbox, batch, inputs=inputs, determinism=determinism))

        contenders: dict[str, Callable[[list[Program]], int]] = {
            "in-process": in_process,
            "subprocess": subprocess_each,
            "reference": lambda batch: reference(pool, batch),
            "single": jailed,
            "10 inputs": lambda batch: jailed(batch, inputs=10),
            "validation": lambda batch: jailed(batch, determinism=True),
        }
        for contender in contenders.values():
            contender(programs(20))
        for number in range(rounds):
            batch = programs(count, seed=number)
            floors = {"fork floor": tuple(PRELOADED.split()), "bare floor": ()}
            for name in rng.sample([*contenders, *floors], len(contenders) + len(floors)):
                start = time.perf_counter()
                if name in floors:
                    speed = fork_floor(count * 2, floors[name])
                else:
                    speed = contenders[name](batch) / (time.perf_counter() - start)
                speeds.setdefault(name, []).append(speed)
        runner.run(sandbox.close())
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--tier", choices=["auto", "full", "seccomp"], default="auto")
    arguments = parser.parse_args()
    speeds = measure(arguments.rounds, arguments.programs, arguments.tier)
    print(f"{len(os.sched_getaffinity(0))} processors, {arguments.rounds} rounds of {arguments.programs} programs")
    print(f"{'programs per second':22}{'min':>10}{'median':>10}{'max':>10}")
    for name, runs in sorted(speeds.items(), key=lambda item: -statistics.median(item[1])):
        print(f"{name:22}{min(runs):10.0f}{statistics.median(runs):10.0f}{max(runs):10.0f}")
    print(f"\n{'ratio':34}{'min':>8}{'median':>8}{'max':>8}{'target':>8}")
    for name, floor, target in RATIOS:
        ratios = [a / b for a, b in zip(speeds[name], speeds[floor], strict=True)]
        line = f"{name + ' / ' + floor:34}{min(ratios):8.2f}{statistics.median(ratios):8.2f}{max(ratios):8.2f}"
        print(line + (f"{target:8.2f}" if target else ""))


if __name__ == "__main__":
    main()
