"""A run's figures as columns with one entry per complete step, for the charts of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from azr.analysis.figures import BANDS, StepFigures

KIND = ("valid", "solve_rate", "learnability", "novelty", "complexity", "diversity", "proposals", "accepted")
ROLE = ("reward", "tokens", "unfinished", "rollouts")
STAGES = ("propose", "validate", "solve", "verify", "learn")


def curves(steps: Sequence[StepFigures], seconds: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Columns of equal length; None if a step has nothing to measure.

    Args:
        steps: complete ones, in order.
        seconds: time of each step, by stage.
    """
    kinds = dict.fromkeys(kind for step in steps for kind in step.kinds)
    forms = sorted({form for step in steps for form in step.trivial})
    learner = dict.fromkeys(name for step in steps for name in step.learner)
    return {
        "step": [step.step for step in steps],
        "kinds": {
            kind: {name: [_finite(getattr(step.kinds.get(kind), name, None)) for step in steps] for name in KIND}
            for kind in kinds
        },
        "roles": {
            role: {name: [_finite(getattr(step.roles.get(role), name, None)) for step in steps] for name in ROLE}
            for role in ("propose", "solve")
        },
        "band_names": list(BANDS),
        "bands": [list(step.bands) for step in steps],
        "trivial": {form: [_share(step.trivial.get(form, 0), step.accepted) for step in steps] for form in forms},
        "shapes": [_share(step.shapes, step.accepted) for step in steps],
        "known_shapes": [_share(step.known, step.accepted) for step in steps],
        "flat": [_share(step.flat, step.rollouts) for step in steps],
        "learner": {name: [_finite(step.learner.get(name)) for step in steps] for name in learner},
        "seconds": {
            stage: [_finite(seconds.get(step.step, {}).get(stage)) for step in steps] for stage in (*STAGES, "step")
        },
    }


def _finite(value: float | None) -> float | None:
    """The value, or None if it is not finite: JSON has no infinity."""
    return value if value is not None and isfinite(value) else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
