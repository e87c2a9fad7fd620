"""What the model of `scaling_model.py` needs to know: measured in a run, or assumed for a card."""

from __future__ import annotations

import heapq
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scaling_model import Cluster, Speed, Workload

from azr.plan.assumed import MEDIAN_TOKENS, PROMPT_TOKENS, SIGMA, VALID, lengths
from azr.plan.cards import card
from azr.plan.pace import BANDWIDTH_SHARE, FLOPS_SHARE

CARD_MODEL = "Qwen2.5-Coder-3B in bfloat16 with the preset paper-coder-3b"
_PARAMETERS, _KV_BYTES = 3.09e9, 36 * 2 * 2 * 128 * 2  # layers, keys and values, their heads, width, bytes


@dataclass(slots=True)
class Step:
    """One step of a measured run.

    Attributes:
        seconds: by stage, as azr logs them: see `azr.selfplay.records.Stopwatch`.
        valid: number of tasks.
        proposals, first, later: tokens of the proposals, of the attempts at new tasks, and of those at other tasks.
        learnt: tokens of completions that the update learned from.
    """

    seconds: dict[str, float]
    learnt: int = 0
    valid: int = 0
    proposals: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    later: list[int] = field(default_factory=list)

    @property
    def sampled(self) -> int:
        """Tokens of all completions."""
        return sum(self.proposals) + sum(self.first) + sum(self.later)

    def iterations(self, rows: int) -> int:
        """Decoding iterations if it is played stage by stage with so many rows at once."""
        return sum(_iterations(tokens, rows) for tokens in (self.proposals, self.first, self.later))


@dataclass(slots=True)
class Measured:
    """A run that was measured: its configuration as a tree, and its steps."""

    config: dict[str, Any]
    steps: list[Step]


def measured(run: Path, *, skip: int = 1) -> Measured:
    """Read a run's folder.

    Args:
        run: its folder.
        skip: steps at its beginning to leave out: the first one warms up.

    Raises:
        SystemExit: no step is left.
    """
    config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    steps = {
        line["step"]: Step(line["seconds"], learnt=int(line["learner"].get("tokens", 0)))
        for line in _lines(run / "metrics.jsonl")
        if "seconds" in line and line["step"] > skip
    }
    if not steps:
        raise SystemExit(f"{run}: no step after the first {skip}; let it play more steps, or lower --skip")
    batch = config["selfplay"]["batch_size"]
    for event in _lines(run / "events.jsonl"):
        step = steps.get(event["step"])
        if step is None:
            continue
        if event["event"] == "proposal":
            step.proposals.append(event["tokens"])
        elif event["event"] == "task":
            step.valid += 1
        elif event["event"] == "attempt":
            index = int(event["id"].split("/")[3])  # from batch_size on: not proposed in this step
            (step.first if index < batch else step.later).append(event["tokens"])
    return Measured(config, list(steps.values()))


def workload(run: Measured, like: dict[str, Any] | None = None) -> Workload:
    """The load of a run with the lengths and the share of valid proposals that another one measured.

    Args:
        run: whose lengths are used.
        like: configuration of the run to predict, as a tree; that of `run` if None.
    """
    config = like or run.config
    play, learner = config["selfplay"], config["learner"]
    kinds = len(config["domain"]["kinds"])
    proposals = [tokens for step in run.steps for tokens in step.proposals]
    attempts = [tokens for step in run.steps for tokens in (*step.first, *step.later)]
    return Workload(
        proposals=play["batch_size"] * kinds,
        attempts=play["samples"],
        valid=sum(step.valid for step in run.steps) / len(proposals),
        propose_tokens=tuple(proposals),
        solve_tokens=tuple(attempts),
        learn_from_samples=play["learn_from_samples"],
        minibatches=learner["minibatches"] * learner["epochs"],
        token_budget=learner["token_budget"],
        barrier=not config["generation"].get("overlap", False),
    )


def speed(runs: Sequence[Measured], workers: int) -> Speed:
    """Fit the speed of one process to measured runs, best to two with different batches.

    Prompts are part of the time per token here, as azr does not log their lengths. A stage's seconds are its share of
    the time that all coroutines spent, so the sandbox's are only approximate.
    """
    steps = [(step, run) for run in runs for step in run.steps]
    rows = [run.config["generation"]["max_rows"] for run in runs]
    play = [
        (step.iterations(limit), step.sampled, step.seconds.get("propose", 0.0) + step.seconds.get("solve", 0.0))
        for run, limit in zip(runs, rows, strict=True)
        for step in run.steps
    ]
    base, row = _fitted(play)
    mini = [run.config["learner"]["minibatches"] * run.config["learner"]["epochs"] for _, run in steps]
    update, token = _fitted([(n, one.learnt, one.seconds["learn"]) for n, (one, _) in zip(mini, steps, strict=True)])
    proposals = sum(len(step.proposals) for step, _ in steps)
    attempts = sum(len(step.first) + len(step.later) for step, _ in steps)
    spent = {name: sum(step.seconds.get(name, 0.0) for step, _ in steps) for name in ("validate", "verify")}
    return Speed(
        decode_base=base,
        decode_row=row,
        learn_token=token,
        update=update,
        validate=spent["validate"] / max(1, proposals) * workers,
        verify=spent["verify"] / max(1, attempts) * workers,
    )


def assumed(name: str) -> tuple[Workload, Speed]:
    """Assumptions for a card: shares of its peaks as in `azr plan`, lengths, times of programs. None is measured."""
    one = card(name)
    if one.flops is None:
        raise SystemExit(f"--card {name}: it has no bfloat16 units; choose another")
    flops, band = one.flops * FLOPS_SHARE, one.bandwidth * BANDWIDTH_SHARE
    answers, prompt = lengths(MEDIAN_TOKENS, SIGMA, 8096), PROMPT_TOKENS
    context = prompt + float(np.mean(answers)) / 2
    load = Workload(192, 8, VALID, answers, answers, prompt, learn_from_samples=False)
    return load, Speed(
        decode_base=2 * _PARAMETERS / band,
        decode_row=max(_KV_BYTES * context / band, 2 * _PARAMETERS / flops),
        read=2 * _PARAMETERS / flops,
        learn_token=8 * _PARAMETERS / flops,  # forward, backward, and the forward pass again for checkpointing
        update=24 * _PARAMETERS / band,  # AdamW reads and writes moments and float32 weights
        validate=0.05,
        verify=0.02,
        slow_share=0.01,
        slow_seconds=10.0,
        weight_bytes=2 * _PARAMETERS,
    )


def layout(config: dict[str, Any], cluster: Cluster) -> Cluster:
    """The machines of a run: `learner.processes` ranks learn. Without servers in `generation.urls`, they sample too.

    Of ranks that divide the model, only rank 0 samples.
    """
    ranks = int(config["learner"].get("processes", 1))
    sampling = 1 if config["learner"].get("sharding") == "sharded" else ranks
    urls = [url for url in str(config["generation"].get("urls", "")).split(",") if url]
    return Cluster(
        generators=len(urls) or sampling,
        learners=ranks,
        colocated=not urls,
        rows=config["generation"]["max_rows"],
        workers=config["sandbox"].get("workers") or cluster.workers,
        staleness=int(config["generation"].get("max_staleness", 0)),
        sync="nccl" if urls else "none",
        node_bandwidth=cluster.node_bandwidth,
        network_bandwidth=cluster.network_bandwidth,
    )


def _iterations(tokens: Sequence[int], rows: int) -> int:
    """Iterations until all sequences have ended, if one is admitted whenever another ends."""
    ends = [0] * rows
    for count in tokens:
        heapq.heapreplace(ends, ends[0] + count)
    return max(ends)


def _fitted(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Least squares of `seconds = a * x + b * y` for rows (x, y, seconds), with neither below zero."""
    table = np.asarray(rows, np.float64)
    left, right = table[:, :2], table[:, 2]
    (a, b), _, rank, _ = np.linalg.lstsq(left, right, rcond=None)
    if rank == 2 and a >= 0 and b >= 0:
        return float(a), float(b)
    alone = [float(column @ right / (column @ column)) for column in left.T]
    errors = [float(np.square(left[:, at] * alone[at] - right).sum()) for at in range(2)]
    return (alone[0], 0.0) if errors[0] < errors[1] else (0.0, alone[1])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
