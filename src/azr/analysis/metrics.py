"""The figures of a step as one line of metrics.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from azr.analysis.alarms import step_alarms
from azr.analysis.figures import KindFigures, StepFigures
from azr.types import Kind


def step_metrics(step: StepFigures, buffer: Mapping[Kind, int]) -> dict[str, Any]:
    """Metrics of one step.

    Args:
        step: its figures.
        buffer: how many tasks each kind's buffer holds after the step, for all kinds that are played.

    Returns:
        step; by kind valid, solve_rate, learnability, reasons, answers and buffer; by role rewards and lengths; the
        signal (see `_signal`); the learner's own metrics; alarms in words. Times are not among them.
    """
    return {
        "step": step.step,
        "kinds": {kind: _kind(step.kinds.get(kind)) | {"buffer": size} for kind, size in buffer.items()},
        "roles": {
            role: {"reward": of.reward, "tokens": of.tokens, "unfinished": of.unfinished, "rollouts": of.rollouts}
            for role, of in step.roles.items()
        },
        "signal": _signal(step),
        "learner": dict(step.learner),
        "alarms": step_alarms(step),
    }


def _kind(found: KindFigures | None) -> dict[str, Any]:
    return {
        "valid": found and found.valid,
        "solve_rate": found and found.solve_rate,
        "learnability": found and found.learnability,
        "proposals": dict(Counter(found.reasons).most_common()) if found else {},
        "answers": dict(Counter(found.answers).most_common()) if found else {},
    }


def _signal(step: StepFigures) -> dict[str, float]:
    """How much there is to learn from: shares of new tasks and of rollouts; means of novelty and complexity.

    What is measured over new tasks is left out if there are none.
    """
    measures: dict[str, float] = {}
    if step.accepted:
        forms = {f"trivial_{form}": count / step.accepted for form, count in sorted(step.trivial.items())}
        measures["trivial"] = sum(step.trivial.values()) / step.accepted
        measures |= forms
        measures["distinct_shapes"] = step.shapes / step.accepted
        measures["known_shapes"] = step.known / step.accepted
    attempted = sum(step.bands)
    measures["all_solved"] = step.bands[1] / attempted if attempted else 0.0
    measures["none_solved"] = step.bands[0] / attempted if attempted else 0.0
    measures["zero_advantage"] = step.flat / step.rollouts if step.rollouts else 0.0
    means = {"novelty": step.novelty, "complexity": step.complexity}
    return measures | {name: mean for name, mean in means.items() if mean is not None}
