"""One line for all that happens in a step: the only thing that screens, reports and explanations are made from.

Types and their fields (all have `event` and `step`):

    proposal   id, kind, references, text, tokens, finished
    attempt    id, kind, task, text, tokens (null where a server does not tell), finished
    verdict    id (of a proposal or an attempt), well_formed, score, reason, detail
    task       task (all its fields), proposal, admitted, intrinsic, trivial
    reward     id, reward
    advantage  id, role, kind, penalty (taken off the reward before), advantage (mean over its tokens),
               baseline (of, n, mean, deviation, by_token: see `azr.algorithms.advantages.Baseline`)
    tokens     id, and arrays with an entry a token (`azr.run.tokens`)
    update     the learner's metrics
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from azr.algorithms.advantages import Estimate
from azr.selfplay.records import Attempts, StepRecord, Story
from azr.types import Rollout, Sample, Task, Verdict

Event = dict[str, Any]


def step_events(record: StepRecord, trivial: Callable[[Task], str | None]) -> Iterator[Event]:
    """Proposals, verdicts, tasks, attempts and rewards of a step, in the order of its stories."""
    admitted = {task.id for task in record.admitted}
    for story in record.stories:
        yield from _story_events(story, record.step, admitted, trivial)
    for attempts in record.solved:
        yield from _attempt_events(attempts, record.step)
    for rollout in record.rollouts:
        yield {"event": "reward", "step": record.step, "id": rollout.id, "reward": rollout.reward}


def learning_events(
    step: int,
    rollouts: Sequence[Rollout],
    penalties: Sequence[float],
    estimates: Sequence[Estimate],
    metrics: Mapping[str, float],
) -> Iterator[Event]:
    """The advantage and the baseline of every rollout, then the update."""
    for rollout, penalty, estimate in zip(rollouts, penalties, estimates, strict=True):
        role, kind = rollout.cell
        mean = sum(estimate.advantages_T.tolist()) / len(estimate.advantages_T)
        about = {"event": "advantage", "step": step, "id": rollout.id, "role": role, "kind": kind}
        yield about | {"penalty": penalty, "advantage": mean, "baseline": asdict(estimate.baseline)}
    yield {"event": "update", "step": step, **metrics}


def _story_events(
    story: Story, step: int, admitted: set[str], trivial: Callable[[Task], str | None]
) -> Iterator[Event]:
    brief = story.brief
    references = [task.id for task in brief.references]
    about = {"event": "proposal", "step": step, "id": story.id, "kind": brief.kind, "references": references}
    yield about | _sample(story.sample)
    yield _verdict(story.id, step, story.proposal.verdict)
    if story.task is not None:
        yield {
            "event": "task",
            "step": step,
            "proposal": story.id,
            "admitted": story.task.id in admitted,
            "task": asdict(story.task),
            "intrinsic": story.intrinsic,
            "trivial": trivial(story.task),
        }
    if story.attempts is not None:
        yield from _attempt_events(story.attempts, step)


def _attempt_events(attempts: Attempts, step: int) -> Iterator[Event]:
    for index, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True)):
        name, task = f"{attempts.id}/{index}", attempts.task
        yield {"event": "attempt", "step": step, "id": name, "kind": task.kind, "task": task.id} | _sample(sample)
        yield _verdict(name, step, verdict)


def _sample(sample: Sample) -> Event:
    return {"text": sample.text, "tokens": sample.tokens, "finished": sample.finished}


def _verdict(name: str, step: int, verdict: Verdict) -> Event:
    return {"event": "verdict", "step": step, "id": name, **asdict(verdict)}
