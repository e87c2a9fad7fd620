"""How fast is the learner on a CPU, against an earlier commit and against plain matrix products of its shapes?

The rollouts are those of the first step of `azr train demo`. Each side is a process of its own with one thread, and
takes the same updates in turn with the other, so that both see the same load of the machine. Wall and processor time
of each are printed; where other work runs, only the ratios mean something.

    python bench/learn.py [--baseline COMMIT] [--rounds 7]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from azr.config import LearnerConfig

REPOSITORY = Path(__file__).parent.parent
BASELINE = "3716187"
"""The commit at which the aims were set."""
SHAPES = ((128, 128), (128, 384), (384, 128))
"""Inputs and outputs of the model's linear layers."""
ROWS = 2048


def play(target: Path) -> None:
    """Write the rollouts of the demo's first step: prompts, completions, log-probabilities, advantages."""
    from azr.learn.learner import PolicyLearner
    from azr.train.start import start_run

    update = PolicyLearner.update
    rows: list[list[Any]] = []

    async def record(self: PolicyLearner, samples: Any, **options: Any) -> Any:
        parts = ((s.prompt_ids_P, s.completion_ids_T, s.logprobs_T, s.advantages_T) for s in samples)
        rows.extend([part.tolist() for part in row] for row in parts)
        return await update(self, samples, **options)

    PolicyLearner.update = record  # type: ignore[method-assign]
    start_run("demo", ["steps=1", "evaluation.tasks=1", f"output_dir={json.dumps(str(target.parent / 'runs'))}"])
    target.write_text(json.dumps(rows))


def updates(path: Path) -> Callable[[], object]:
    """A function that takes one update with the rollouts in a file; the azr that is imported is this side's."""
    rows = json.loads(path.read_text())
    try:
        from azr.train.start import load_policy, make_learner, resolve
    except ModuleNotFoundError:
        return _earlier_updates(rows)
    samples = train_samples(rows)
    config = resolve("demo", [])
    learner = make_learner(config, load_policy(config))
    return lambda: asyncio.run(learner.update(samples))


def train_samples(rows: Sequence[Sequence[Any]]) -> list[Any]:
    from azr.learn.base import TrainSample

    kinds = np.int32, np.int32, np.float32, np.float64
    return [TrainSample(*(np.array(part, kind) for part, kind in zip(row, kinds, strict=True))) for row in rows]


def _earlier_updates(rows: Sequence[Sequence[Any]]) -> Callable[[], object]:
    from azr.command import make_learner, resolve  # type: ignore[import-not-found]
    from azr.policy.base import Trainee  # type: ignore[import-not-found]
    from azr.policy.load import load_model  # type: ignore[import-not-found]
    from azr.shipped import resolve as shipped  # type: ignore[import-not-found]

    from azr.config import ModelConfig

    config = resolve("demo", [])
    torch.set_num_threads(1)
    learner = make_learner(config, load_model(ModelConfig(name=shipped("nursery"))), kinds=3)
    trainees = [Trainee(*map(tuple, row)) for row in rows]
    return lambda: learner.update(trainees)


def work(path: Path) -> None:
    """A side: one update for each line of standard input, and its times as a line of standard output."""
    update = updates(path)
    torch.set_num_threads(1)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        update()
        times = time.perf_counter() - wall, time.process_time() - processor
        print("times", *times, product_rate() if "product" in sys.argv else 0.0, flush=True)


def product_rate() -> float:
    """GFLOP per second of processor time, for products of the learner's shapes by the library that azr chooses."""
    from azr.models.products import product

    pairs = [(torch.randn(ROWS, i), torch.randn(o, i)) for i, o in SHAPES]
    start, flops = time.process_time(), 0
    while time.process_time() - start < 0.3:
        for left, right in pairs:
            product(left, right)
            flops += 2 * left.numel() * right.shape[0]
    return flops / (time.process_time() - start) / 1e9


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of a commit."""
    git = ["git", "-C", str(REPOSITORY), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def start(tree: Path, path: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--work", str(path), *words]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def timed(side: subprocess.Popen[str]) -> list[float]:
    """Seconds of wall and processor time of one update, and the rate of matrix products."""
    assert side.stdin is not None
    assert side.stdout is not None
    print(file=side.stdin, flush=True)
    while (words := side.stdout.readline().split()) and words[0] != "times":
        continue
    return [float(word) for word in words[1:]]


def laid_out(path: Path, config: LearnerConfig) -> tuple[int, int]:
    """Tokens of all rollouts, and those that are computed."""
    from azr.learn.budget import TokenBudget
    from azr.learn.minibatches import minibatches
    from azr.learn.prefixes import lay_out_paths, read
    from azr.learn.ranks import ALONE

    samples = train_samples(json.loads(path.read_text()))
    computed = 0
    for chosen in minibatches(samples, config, seed=0, update=0):
        minibatch = [samples[i] for i in chosen]
        for part in TokenBudget(config.token_budget, sharing="prefixes", ranks=ALONE).cut(minibatch):
            computed += len(lay_out_paths([minibatch[i] for (i,) in part]).ids_F)
    return sum(len(read(sample)) for sample in samples), computed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", default=BASELINE)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rollouts", type=Path, help="of an earlier call; if there is no such file, it is written")
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play or arguments.work:
        (play if arguments.play else work)(arguments.play or arguments.work)
        return
    with tempfile.TemporaryDirectory() as folder, checked_out(arguments.baseline, Path(folder) / "tree") as tree:
        path = arguments.rollouts or Path(folder) / "rollouts.json"
        if not path.exists():
            words = [sys.executable, __file__, "--play", str(path)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        compare(path, tree, arguments.rounds)


def compare(path: Path, tree: Path, rounds: int) -> None:
    sides = {"before": start(tree, path), "now": start(REPOSITORY, path, "product")}
    found: dict[str, list[list[float]]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, side in sides.items():
            times = timed(side)
            if round_:  # the first is for warming up
                found[name].append(times)
    for side in sides.values():
        assert side.stdin is not None
        side.stdin.close()
        side.wait()
    report(path, found)


def report(path: Path, found: dict[str, list[list[float]]]) -> None:
    from azr.train.start import load_policy, resolve

    config = resolve("demo", [])
    parameters = load_policy(config).model.num_parameters()
    tokens, computed = laid_out(path, config.learner)
    rows = json.loads(path.read_text())
    useful = sum(map(len, {tuple(row[0]) for row in rows})) + sum(len(row[1]) for row in rows)
    flops = 6 * parameters * useful / 1e9
    print(f"{len(rows)} rollouts of {tokens} tokens, {useful} if every prompt counts once; {computed} are computed now")
    product = median(row[2] for row in found["now"])
    print(f"matrix products of these shapes: {product:.0f} GFLOP per second of processor time")
    for name, times in found.items():
        wall, processor, _ = zip(*times, strict=True)
        rate = flops / median(processor)
        print(
            f"{name:7} wall s: min {min(wall):.2f} median {median(wall):.2f}  processor s: min {min(processor):.2f}"
            f" median {median(processor):.2f}  {tokens / median(processor):,.0f} tokens/s"
            f"  {rate:.1f} GFLOP/s, {100 * rate / product:.0f} % of the products"
        )
    for column, title in enumerate(("wall", "processor")):
        ratios = [a[column] / b[column] for a, b in zip(found["before"], found["now"], strict=True)]
        print(f"before / now, {title} time: min {min(ratios):.2f} median {median(ratios):.2f} runs {len(ratios)}")


if __name__ == "__main__":
    main()
