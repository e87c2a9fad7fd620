"""The environment: one row becomes one episode of azr's own self-play, sampled by verifiers' agents."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from azr.config import Config
from azr.domains import registry
from azr.domains.base import Domain
from azr.rollout.base import Sampling
from azr.sandbox.base import Sandbox
from azr.sandbox.factory import make_sandbox
from azr.selfplay.parts import Parts
from azr.selfplay.records import StepRecord
from azr.selfplay.rewards import intrinsic_reward
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.types import Prompt, Role, Sample
from azr_selfplay.buffer import StoredBuffer
from azr_selfplay.taskset import Slot, azr_config

BYTES_PER_TOKEN = 2
"""Prompts are tokenized elsewhere; this estimate of their length errs on the long side."""
SEAT = vf.AgentConfig(runtime=vf.SubprocessConfig())


class SelfPlayEnvConfig(vf.EnvConfig):
    """The two seats, which the same model takes unless a seat names another."""

    proposer: vf.AgentConfig = SEAT
    solver: vf.AgentConfig = SEAT


class SeatFailedError(Exception):
    """The run of an agent failed; its trace says why."""


class Seats:
    """Samples by running verifiers' agents (the `Generator` protocol), and keeps their traces by rollout."""

    def __init__(self, agents: vf.Agents) -> None:
        self._agents = agents
        self.traces: dict[str, vf.Trace] = {}

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        """Run the agent of the key's role n times; its own settings say how it samples.

        Raises:
            SeatFailedError: a run failed, so there is nothing to judge.
        """
        _, role, kind, _ = key.split("/")
        agent = self._agents.proposer if role == Role.PROPOSE else self._agents.solver
        task = vf.Task(vf.TaskData(prompt=prompt.text, name=f"{role} {kind}"))
        traces = await asyncio.gather(*(agent.run(task) for _ in range(n)))
        names = [key] if role == Role.PROPOSE else [f"{key}/{index}" for index in range(n)]
        self.traces |= dict(zip(names, traces, strict=True))
        if not all(trace.ok for trace in traces):
            raise SeatFailedError(key)
        return tuple(map(_sample, traces))

    async def update_weights(self, version: int, weights: Mapping[str, Any]) -> None:
        """Nothing to do: the trainer updates the model."""


class SelfPlayEnv(vf.Env[SelfPlayEnvConfig]):
    """Proposes a task, attempts it, and records azr's rewards on the traces."""

    async def start(self) -> None:
        """Open the buffer, with the domain's first tasks in it, and make the sandbox."""
        self._config: Config = azr_config(self.taskset.config)
        whole = registry.make_domain(self._config.domain, self._config.sandbox)
        self._domains: dict[str, Domain] = {
            kind: registry.make_domain(self._config.domain.model_copy(update={"kinds": (kind,)}), self._config.sandbox)
            for kind in whole.kinds
        }
        self._buffer = StoredBuffer(Path(self.taskset.config.database), buffer_kinds(whole), self._config.buffer)
        for task in whole.seeds():
            self._buffer.add(task, step=0, answer=whole.gold(task))
        self._sandbox: Sandbox = make_sandbox(**self._config.sandbox.choice)

    async def stop(self) -> None:
        """Close what `start` opened."""
        if (sandbox := getattr(self, "_sandbox", None)) is not None:
            await sandbox.close()
        if (buffer := getattr(self, "_buffer", None)) is not None:
            buffer.close()

    async def run(self, task: Slot, agents: vf.Agents) -> None:
        """One episode; an invalid proposal is an episode whose only trace has the penalty of Eq. 6."""
        domain, seats = self._domains[task.data.kind], Seats(agents)
        self._buffer.refresh()
        play = SelfPlay(self._config, Parts(domain, seats, self._sandbox, _prompt), self._buffer)
        try:
            record = await play.step(self._buffer.begin(task.data.kind))
        except SeatFailedError:
            return  # the failed trace fails the episode, and nothing is rewarded on a guess
        _judge(record, seats.traces, self._config)


def _judge(record: StepRecord, traces: Mapping[str, vf.Trace], config: Config) -> None:
    """Record verdict and reward of each rollout on its trace."""
    (episode,) = record.episodes
    values = {episode.id: dict(episode.intrinsic) if episode.task is not None else {}}
    if (attempts := episode.attempts) is not None:
        values |= {f"{attempts.id}/{index}": dict(one) for index, one in enumerate(attempts.intrinsic)}
        traces[episode.id].record_metric("solve_rate", sum(attempts.scores) / len(attempts.scores))
    for rollout in record.rollouts:
        trace, intrinsic = traces[rollout.id], intrinsic_reward(values.get(rollout.id, {}), config.rewards)
        trace.record_reward("composite", rollout.reward - intrinsic)
        trace.record_reward("intrinsic", intrinsic)
        trace.record_metrics({"well_formed": rollout.verdict.well_formed, "score": rollout.verdict.score})
        trace.record_metrics(values.get(rollout.id, {}))
        task = episode.task.id if episode.task is not None else None
        trace.info["azr"] = {"rollout": rollout.id, "reason": rollout.verdict.reason, "task": task}


def _prompt(text: str) -> Prompt:
    return Prompt(text, (), -(-len(text.encode()) // BYTES_PER_TOKEN))


def _sample(trace: vf.Trace) -> Sample:
    messages = trace.assistant_messages
    text = (messages[-1].content or "") if messages else ""
    return Sample((), (), (), text if isinstance(text, str) else "", not trace.is_truncated, trace.num_output_tokens)
