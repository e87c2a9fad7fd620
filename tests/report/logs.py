"""Logs of runs that never were, in the shapes of real ones, with everything in them that a report must cope with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from azr.run.events import pack

KINDS = ("deduction", "abduction", "induction")
SAMPLES = 4
CONFIG = """
steps = {steps}
seed = 3

[model]
name = "none"

[domain]
name = "python"

[selfplay]
batch_size = 3
samples = 4
"""

PASS = {"old": None, "ratio": pack([0.0, 0.25], np.float32), "advantage": 0.5, "weight": 0.1, "reference": None}
"""What one optimizer step saw of two tokens, the second of which is clipped."""

Event = dict[str, Any]


def write_run(folder: Path, *, steps: int = 6, planned: int | None = None, seed: int = 0, program: str = "") -> Path:
    """Write the folder of a run.

    Args:
        folder: made if need be.
        steps: that were played.
        planned: that were to be played; as many if None.
        seed: of all that is drawn.
        program: text that every proposal's program ends with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(steps=planned or steps))
    (folder / "seed.jsonl").write_text(
        line(
            {
                "id": "5eed5eed5eed5eed",
                "kind": "deduction",
                "data": {"program": "def f(x):\n    return x"},
                "parents": [],
            }
        )
    )
    made = Maker(random.Random(seed), program)
    (folder / "events.jsonl").write_text("".join(map(line, made.run(steps))))
    (folder / "metrics.jsonl").write_text("".join(map(line, measured(steps))))
    return folder


def line(record: Event) -> str:
    """As the run writes it."""
    return json.dumps(record, ensure_ascii=True) + "\n"


def measured(steps: int) -> Iterable[Event]:
    """What the report takes from the metrics: times, and the random guess."""
    yield {"step": 0, "held_out": {"guess": 0.0625}}
    for step in range(1, steps + 1):
        stages = {"propose": 1.0 * step, "validate": 0.5, "solve": 2.0, "verify": 0.25, "learn": 3.0}
        yield {"step": step, "kinds": {}, "seconds": {"step": sum(stages.values()), **stages}}


class Maker:
    """Draws the events of a run."""

    def __init__(self, rng: random.Random, program: str) -> None:
        self._rng, self._program, self._tasks, self._made = rng, program, ["5eed5eed5eed5eed"], 0

    def run(self, steps: int) -> Iterable[Event]:
        yield from self.answers(0)
        for kind in KINDS:
            for index in range(2):
                yield from self.proposal(0, kind, index)[0]
        for step in range(1, steps + 1):
            yield from self.step(step)
            if step % 2 == 0:
                yield from self.answers(step)

    def step(self, step: int) -> Iterable[Event]:
        rng, rollouts = self._rng, []
        for kind in KINDS:
            for index in range(3):
                told, task = self.proposal(step, kind, index)
                yield from told
                rollouts.append(told[0]["id"])
                if task is not None:
                    attempts = list(self.attempts(step, kind, index, task))
                    yield from attempts
                    rollouts += [event["id"] for event in attempts if event["event"] == "attempt"]
        for kind in KINDS:
            attempts = list(self.attempts(step, kind, 3, rng.choice(self._tasks)))
            yield from attempts
            rollouts += [event["id"] for event in attempts if event["event"] == "attempt"]
        for name in rollouts:
            yield {"event": "reward", "step": step, "id": name, "reward": rng.choice([-1.0, -0.5, 0.25, 1.0])}
        for name in rollouts:
            _, role, kind, *_ = name.split("/")
            advantage = rng.choice([-1.25, 0.0, 0.5])
            about = {"event": "advantage", "step": step, "id": name, "role": role, "kind": kind}
            yield about | {"penalty": 0.0, "advantage": advantage}
        learnt = {"entropy": 1 / step, "clip_share": 0.01 * step, "mismatch_kl": 1e-9 * step, "grad_norm": 0.5}
        yield {"event": "update", "step": step, **learnt}
        about = {"event": "tokens", "step": step, "id": rollouts[0], "passes": [PASS]}
        yield about | {"tokens": pack([5, 7], np.int32), "sampler": pack([-0.5, -1.5], np.float16)}

    def proposal(self, step: int, kind: str, index: int) -> tuple[list[Event], str | None]:
        rng = self._rng
        name, parents = f"{step}/propose/{kind}/{index:04d}", rng.sample(self._tasks, min(2, len(self._tasks)))
        program = f"def f(a):\n    return a + {rng.randrange(50)}{self._program}"
        text = f"<answer><program>{program}</program></answer>"
        about = {"event": "proposal", "step": step, "id": name, "kind": kind, "references": parents, "text": text}
        reason = rng.choice(["accepted", "accepted", "accepted", "error", "syntax"])
        events: list[Event] = [about | {"tokens": rng.randrange(5, 60), "finished": rng.random() < 0.9}]
        events.append(verdict(step, name, reason, reason == "accepted"))
        if reason != "accepted":
            return events, None
        self._made += 1
        task = f"{self._made:016x}"
        self._tasks.append(task)
        data = {"program": program, "input": "1", "output": "2"}
        whole = {"id": task, "kind": kind, "data": data, "fingerprint": task, "shape": f"{rng.randrange(4)}"}
        intrinsic = {"complexity": rng.random(), "novelty": rng.random(), "diversity": rng.random()}
        trivial = rng.choice([None, None, None, "identity", "constant"])
        born = {"event": "task", "step": step, "proposal": name, "admitted": rng.random() < 0.9}
        whole |= {"parents": parents, "born": step, "depth": step * (self._made % 3)}
        about = {"intrinsic": intrinsic, "trivial": trivial, "length": step + self._made % 4}
        return [*events, born | {"task": whole} | about], task

    def attempts(self, step: int, kind: str, index: int, task: str) -> Iterable[Event]:
        chance = self._rng.choice([0.0, 0.5, 0.8, 1.0])
        for attempt in range(SAMPLES):
            name = f"{step}/solve/{kind}/{index:04d}/{attempt}"
            about = {"event": "attempt", "step": step, "id": name, "kind": kind, "task": task}
            text = f"<answer>{self._rng.randrange(9)}</answer>"
            yield about | {"text": text, "tokens": self._rng.randrange(1, 40), "finished": self._rng.random() < 0.8}
            right = self._rng.random() < chance
            yield verdict(step, name, "correct" if right else self._rng.choice(["wrong", "no_answer"]), right)

    def answers(self, step: int) -> Iterable[Event]:
        for kind in KINDS:
            for index in range(20):
                right = self._rng.random() < 0.2 + 0.05 * step
                about = {"event": "held_out", "step": step, "task": f"{kind}{index}", "kind": kind, "text": "<answer>"}
                about["length"] = (3, 3, 4, 12)[index % 4]
                yield about | {"score": float(right), "reason": "correct" if right else "wrong"}


def verdict(step: int, name: str, reason: str, passed: bool) -> Event:
    """The verdict on a proposal or an attempt; a part of an answer is worth less than 1."""
    score = 1.0 if passed else 0.5 if reason == "wrong" else 0.0
    about = {"event": "verdict", "step": step, "id": name, "well_formed": reason != "no_answer", "score": score}
    return about | {"reason": reason, "detail": "" if passed else f"{reason}: a < b"}
