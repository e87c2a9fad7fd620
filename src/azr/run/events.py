"""Events: everything that happens in a step, one line each. Screens, reports and ledgers are computed from them.

Types and their fields (all have `event` and `step`):

    proposal   id, kind, references, text, tokens, finished, version (of the weights that sampled it)
    attempt    id, kind, task, text, tokens (null if a server does not report it), finished, version,
               intrinsic (values of the solver's plug-ins, if there are any), with search also rejected (texts of
               the guesses that failed the model's own check) and agreed (whether this one passed it)
    verdict    id (of a proposal or an attempt), well_formed, score, reason, detail
    task       task (all its fields, such as depth), proposal, admitted, intrinsic, trivial,
               length (on the domain's own scale; null if the domain does not measure it)
    reward     id, reward
    advantage  id, role, kind, penalty (subtracted from the reward), advantage (mean over its tokens),
               baseline (of, n, mean, deviation, by_token: see `azr.algorithms.advantages.Baseline`)
    demonstration  id, kind, source, task (all its fields), text, advantage: an answer that was learnt but not sampled
    tokens     id, tokens, sampler, passes: for each optimizer step, old, ratio, advantage, weight, reference
    update     the learner's metrics
    held_out   task (id), kind, length (as above), text, score, reason

Fields of `tokens` are base64 arrays with one entry per token. `sampler` has half precision, about three digits. The
others are differences in single precision, so that ratios and clipping can be recomputed exactly: `old` is old -
sampler (null if equal), `ratio` is log pi - log pi_old, `reference` is log pi_ref - log pi.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from azr.algorithms.advantages import Estimate
from azr.domains.base import Domain, length_of
from azr.learn.base import Trace
from azr.selfplay.records import Attempts, Episode, StepRecord
from azr.types import Rollout, Sample, Verdict

Event = dict[str, Any]


def step_events(record: StepRecord, domain: Domain) -> Iterator[Event]:
    """Proposals, verdicts, tasks, attempts and rewards of a step, in the order of its episodes."""
    admitted = {task.id for task in record.admitted}
    for episode in record.episodes:
        yield from _episode_events(episode, record.step, admitted, domain)
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


def token_events(
    step: int,
    rollouts: Sequence[Rollout],
    advantages: Sequence[NDArray[np.float64]],
    traces: Sequence[Sequence[Trace]],
) -> Iterator[Event]:
    """One event per rollout, with the advantages of its tokens [T] and the traces of the learner's passes over it."""
    for rollout, advantages_T, passes in zip(rollouts, advantages, traces, strict=True):
        sample, sampler_T = rollout.sample, np.array(rollout.sample.logprobs, np.float32)
        yield {
            "event": "tokens",
            "step": step,
            "id": rollout.id,
            "tokens": pack(sample.completion_ids, np.int32),
            "sampler": pack(sample.logprobs, np.float16),
            "passes": [_packed(trace, advantages_T, sampler_T) for trace in passes],
        }


def pack(values: Any, dtype: DTypeLike) -> str:
    """An array as text: little-endian bytes in base64."""
    array = np.asarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode("ascii")


def unpack(text: str, dtype: DTypeLike) -> NDArray[Any]:
    """The array that `pack` was given."""
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _episode_events(episode: Episode, step: int, admitted: set[str], domain: Domain) -> Iterator[Event]:
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
            "trivial": domain.trivial(episode.task),
            "length": length_of(domain, episode.task),
        }
    if episode.attempts is not None:
        yield from _attempt_events(episode.attempts, step)


def _attempt_events(attempts: Attempts, step: int) -> Iterator[Event]:
    for index, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True)):
        name, task = f"{attempts.id}/{index}", attempts.task
        about = {"event": "attempt", "step": step, "id": name, "kind": task.kind, "task": task.id} | _sample(sample)
        terms = {"intrinsic": attempts.intrinsic[index]} if attempts.intrinsic else {}
        yield about | terms | (asdict(attempts.searches[index]) if attempts.searches else {})
        yield _verdict(name, step, verdict)
    for shown in attempts.demonstrations:
        about = {"event": "demonstration", "step": step, "id": shown.id, "kind": shown.task.kind}
        told = {"source": shown.source, "task": asdict(shown.task), "text": shown.text}
        yield about | told | {"advantage": shown.advantage}


def _sample(sample: Sample) -> Event:
    told = {"text": sample.text, "tokens": sample.tokens, "finished": sample.finished}
    return told | {"version": sample.version}


def _verdict(name: str, step: int, verdict: Verdict) -> Event:
    return {"event": "verdict", "step": step, "id": name, **asdict(verdict)}


def _packed(trace: Trace, advantages_T: NDArray[np.float64], sampler_T: NDArray[np.float32]) -> Event:
    same, reference_T = bool((advantages_T == advantages_T[0]).all()), trace.reference_T
    return {
        "old": None if np.array_equal(trace.old_T, sampler_T) else pack(trace.old_T - sampler_T, np.float32),
        "ratio": pack(trace.logprobs_T - trace.old_T, np.float32),
        "advantage": float(advantages_T[0]) if same else pack(advantages_T, np.float32),
        "weight": trace.weight,
        "reference": None if reference_T is None else pack(reference_T - trace.logprobs_T, np.float32),
    }
