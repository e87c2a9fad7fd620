"""Events: everything that happens in a step, one line each. Screens, reports and ledgers are computed from them.

Types and their fields (all have `event` and `step`):

    proposal   id, kind, references, text, tokens, finished
    attempt    id, kind, task, text, tokens (null if a server does not report it), finished
    verdict    id (of a proposal or an attempt), well_formed, score, reason, detail
    task       task (all its fields), proposal, admitted, intrinsic, trivial
    reward     id, reward
    advantage  id, role, kind, penalty (subtracted from the reward), advantage (mean over its tokens),
               baseline (of, n, mean, deviation, by_token: see `azr.algorithms.advantages.Baseline`)
    tokens     id, and arrays with one entry per token (`azr.run.tokens`)
    update     the learner's metrics
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from azr.algorithms.advantages import Estimate
from azr.selfplay.records import Attempts, Episode, StepRecord
from azr.types import Rollout, Sample, Task, Verdict

Event = dict[str, Any]


def step_events(record: StepRecord, trivial: Callable[[Task], str | None]) -> Iterator[Event]:
    """Proposals, verdicts, tasks, attempts and rewards of a step, in the order of its episodes."""
    admitted = {task.id for task in record.admitted}
    for episode in record.episodes:
        yield from _episode_events(episode, record.step, admitted, trivial)
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


def _episode_events(
    episode: Episode, step: int, admitted: set[str], trivial: Callable[[Task], str | None]
) -> Iterator[Event]:
    prompt = episode.prompt
    references = [task.id for task in prompt.references]
    about = {"event": "proposal", "step": step, "id": episode.id, "kind": prompt.kind, "references": references}
    yield about | _sample(episode.sample)
    yield _verdict(episode.id, step, episode.proposal.verdict)
    if episode.task is not None:
        yield {
            "event": "task",
            "step": step,
            "proposal": episode.id,
            "admitted": episode.task.id in admitted,
            "task": asdict(episode.task),
            "intrinsic": episode.intrinsic,
            "trivial": trivial(episode.task),
        }
    if episode.attempts is not None:
        yield from _attempt_events(episode.attempts, step)


def _attempt_events(attempts: Attempts, step: int) -> Iterator[Event]:
    for index, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True)):
        name, task = f"{attempts.id}/{index}", attempts.task
        yield {"event": "attempt", "step": step, "id": name, "kind": task.kind, "task": task.id} | _sample(sample)
        yield _verdict(name, step, verdict)


def _sample(sample: Sample) -> Event:
    return {"text": sample.text, "tokens": sample.tokens, "finished": sample.finished}


def _verdict(name: str, step: int, verdict: Verdict) -> Event:
    return {"event": "verdict", "step": step, "id": name, **asdict(verdict)}
