"""How long `azr report` takes, and how much memory, for a log of a million lines.

    python bench/report.py [RUN] [--lines 1000000] [--times 3] [--keep FOLDER]

The log is a real one drawn out: the steps of RUN (of three fresh steps of the preset demo, if none is named) follow
each other over and over, with new numbers, new tasks and the same texts. A block of texts is compressed by itself, so
that repetition makes the page no smaller. Seconds are by the clock and, for a machine that is busy, of the processor.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

EVALUATED_EVERY = 10
TASK = re.compile(r'"([0-9a-f]{16})"')
STORY = re.compile(r'"(\d+)/(propose|solve)/')
STEP = re.compile(r'"step": \d+')


def main() -> None:
    parser = argparse.ArgumentParser(description="time and memory of azr report")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch) / "long"
        source = asked.run or fresh_run(Path(scratch))
        steps, lines = draw_out(source, folder, asked.lines)
        size = (folder / "events.jsonl").stat().st_size
        print(f"{lines:,} lines, {size / 1e6:.0f} MB, {steps} steps, drawn out from {source.name}")
        seconds, before = [], processor_seconds()
        for _ in range(asked.times):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "azr", "report", folder], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begin)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        processor = (processor_seconds() - before) / asked.times
        page = (folder / "report.html").stat().st_size / 1e6
        middle = statistics.median(seconds)
        print(f"{min(seconds):.1f} s at best, {middle:.1f} s median of {len(seconds)}; processor {processor:.1f} s")
        print(f"at most {peak:.0f} MiB; page of {page:.1f} MB")


def processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fresh_run(folder: Path) -> Path:
    """Three steps of the demo."""
    words = ["train", "demo", "--steps", "3", "--output-dir", str(folder / "runs")]
    subprocess.run([sys.executable, "-m", "azr", *words], check=True, stdout=subprocess.DEVNULL)
    return next((folder / "runs").iterdir())


def draw_out(source: Path, folder: Path, least: int) -> tuple[int, int]:
    """Write the folder of a run of at least so many lines; returns its steps and lines."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "seed.jsonl", folder / "seed.jsonl")
    if (source / "model" / "tokenizer.json").is_file():
        shutil.copytree(
            source / "model", folder / "model", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors")
        )
    blocks, answers = read_steps(source)
    metrics = read_metrics(source)
    lines = 0
    with (folder / "events.jsonl").open("w") as events, (folder / "metrics.jsonl").open("w") as measured:
        for line in [*answers, *blocks.pop(0)]:
            events.write(line)
            lines += 1
        numbers, step = sorted(blocks), 0
        while lines < least:
            again, at = divmod(step, len(numbers))
            step += 1
            evaluated = answers if step % EVALUATED_EVERY == 0 else []
            for line in [*renumbered(blocks[numbers[at]], step, again), *renumbered(evaluated, step, 0)]:
                events.write(line)
                lines += 1
            measured.write(json.dumps(metrics[numbers[at]] | {"step": step}) + "\n")
    config = (source / "config.toml").read_text()
    (folder / "config.toml").write_text(re.sub(r"^steps = \d+", f"steps = {step}", config, count=1, flags=re.MULTILINE))
    return step, lines


def read_steps(source: Path) -> tuple[dict[int, list[str]], list[str]]:
    """Lines of each step, and those of its first evaluation."""
    blocks: dict[int, list[str]] = {}
    answers = []
    with (source / "events.jsonl").open() as file:
        for line in file:
            event = json.loads(line)
            if event["event"] != "held_out":
                blocks.setdefault(event["step"], []).append(line)
            elif event["step"] == 0:
                answers.append(line)
    return blocks, answers


def read_metrics(source: Path) -> dict[int, dict[str, object]]:
    """Metrics of each step, evaluations left out."""
    records = map(json.loads, (source / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record for record in records if "kinds" in record}


def renumbered(lines: list[str], step: int, again: int) -> Iterator[str]:
    """The lines as they would be at another step, with tasks of their own the second time."""
    for line in lines:
        line = STEP.sub(f'"step": {step}', line, count=1)
        line = STORY.sub(rf'"{step}/\2/', line)
        yield TASK.sub(lambda found: f'"{again:04x}{found[1][4:]}"', line) if again else line


if __name__ == "__main__":
    main()
