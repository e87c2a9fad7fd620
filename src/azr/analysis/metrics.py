"""The figures of a step as one line of metrics.jsonl."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from azr.analysis.alarms import step_alarms
from azr.analysis.figures import KindFigures, StepFigures
from azr.types import Kind

NOT_NUMBERS = ("step", "marks")
"""Keys of a metrics line that `numbers` leaves out: the step's number, and the marks of single held-out tasks."""


def numbers(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a metrics line by path. An interval becomes its two ends, a list of words its length."""
    for key, value in tree.items():
        if key in NOT_NUMBERS:
            continue
        if isinstance(value, Mapping):
            yield from numbers(value, f"{path}{key}/")
        elif key == "interval":
            yield from zip((f"{path}low", f"{path}high"), value, strict=True)
        elif value is not None:
            yield f"{path}{key}", float(len(value) if isinstance(value, list) else value)


def step_metrics(step: StepFigures, buffer: Mapping[Kind, int]) -> dict[str, Any]:
    """Metrics of one step; `buffer` has the number of tasks in the buffer after it, for each kind of the domain.

    Returns:
        step; by kind valid, solve_rate, learnability, proposals, answers and buffer, with search and demonstrations if
        there are any; by role rewards and lengths; the
        signal (see `_signal`); the learner's metrics; alarms in words. Times are not included.
    """
    roles = ("reward", "tokens", "unfinished", "rollouts")
    return {
        "step": step.step,
        "kinds": {kind: _kind(step.kinds.get(kind)) | {"buffer": size} for kind, size in buffer.items()},
        "roles": {role: {name: getattr(of, name) for name in roles} for role, of in step.roles.items()},
        "signal": _signal(step),
        "learner": dict(step.learner),
        "alarms": step_alarms(step),
    }


def _kind(found: KindFigures | None) -> dict[str, Any]:
    return {
        **{name: found and getattr(found, name) for name in ("valid", "solve_rate", "learnability")},
        "proposals": dict(Counter(found.reasons).most_common()) if found else {},
        "answers": dict(Counter(found.answers).most_common()) if found else {},
        **({"search": asdict(found.search)} if found and found.search else {}),
        **({"demonstrations": found.shown} if found and found.shown else {}),
    }


def _signal(step: StepFigures) -> dict[str, float]:
    """Shares of new tasks (left out if there are none) and of rollouts.

    With them the means of novelty and complexity, and the medians of length and depth, if they are known.
    """
    counts = {"trivial": sum(step.trivial.values())}
    counts |= {f"trivial_{form}": count for form, count in sorted(step.trivial.items())}
    counts |= {"distinct_shapes": step.shapes, "known_shapes": step.known}
    measures = {name: count / step.accepted for name, count in counts.items()} if step.accepted else {}
    attempted = sum(step.bands)
    measures["all_solved"] = step.bands[1] / attempted if attempted else 0.0
    measures["none_solved"] = step.bands[0] / attempted if attempted else 0.0
    measures["zero_advantage"] = step.flat / step.rollouts if step.rollouts else 0.0
    centres = {"novelty": step.novelty, "complexity": step.complexity}
    centres |= {name: of and of[1] for name, of in (("length", step.length), ("depth", step.depth))}
    return measures | {name: centre for name, centre in centres.items() if centre is not None}
