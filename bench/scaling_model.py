"""A discrete-event model of a run on many GPUs: generators, sandbox hosts, a sharded learner, weight transfer.

Times are in seconds, sizes in bytes. A generator decodes all its rows together: one iteration, a token for each row,
takes `decode_base + decode_row * rows`. A step's rollouts go through the same stages as in `azr.selfplay.step`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from azr.plan.assumed import DISK_BANDWIDTH, HIDDEN, RELOAD, disk_seconds, exposed_seconds


@dataclass(frozen=True, slots=True)
class Speed:
    """What one GPU and one sandbox worker need.

    Attributes:
        decode_base: per decoding iteration, whatever the number of rows (reading the weights).
        decode_row: per decoding iteration and row (reading its keys and values).
        read: per prompt token.
        learn_token: per token of an update on one GPU.
        update: per optimizer step, not shared by ranks.
        validate, verify: worker time per proposal and per attempt.
        slow_share, slow_seconds: share of programs that run into the time limit, and that limit.
        weight_bytes: of all weights, as they are sent to generators and gathered by ranks.
    """

    decode_base: float
    decode_row: float
    learn_token: float
    update: float = 0.0
    read: float = 0.0
    validate: float = 0.0
    verify: float = 0.0
    slow_share: float = 0.0
    slow_seconds: float = 0.0
    weight_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What a step plays and learns from.

    Attributes:
        proposals: per step, of all kinds.
        attempts: per task [n].
        valid: share of proposals that become tasks.
        propose_tokens, solve_tokens: lengths of completions, drawn from uniformly.
        prompt_tokens: of every prompt.
        learn_from_samples: see `selfplay.learn_from_samples`.
        minibatches, token_budget: of the learner.
        barrier: play stage by stage, as with `generation.overlap = false`.
    """

    proposals: int
    attempts: int
    valid: float
    propose_tokens: tuple[int, ...]
    solve_tokens: tuple[int, ...]
    prompt_tokens: int = 0
    learn_from_samples: bool = True
    minibatches: int = 1
    token_budget: int = 16384
    barrier: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines.

    Attributes:
        generators: replicas of the model that sample, of one GPU each.
        learners: ranks of the learner.
        colocated: generators and learner take turns on the same GPUs.
        rows: sequences that a generator decodes at once.
        workers: sandbox processes, on all hosts together.
        staleness: updates that may lie between the weights that sampled a rollout and those that learn from it.
        sync: how weights reach the generators; `none` is for one process.
        node_gpus: GPUs per node, joined by `node_bandwidth`; beyond a node `network_bandwidth` holds for each GPU.
        disk_bandwidth: of the shared disk, for all readers together.
        reload: for a generator to load weights from the disk, beside reading them.
        overlap: share of a rank's computing time behind which its communication can hide.
    """

    generators: int = 1
    learners: int = 1
    colocated: bool = True
    rows: int = 256
    workers: int = 16
    staleness: int = 0
    sync: Literal["none", "nccl", "disk"] = "none"
    node_gpus: int = 8
    node_bandwidth: float = 450e9
    network_bandwidth: float = 25e9
    disk_bandwidth: float = DISK_BANDWIDTH
    reload: float = RELOAD
    overlap: float = HIDDEN

    @property
    def gpus(self) -> int:
        """How many GPUs there are."""
        return max(self.generators, self.learners) if self.colocated else self.generators + self.learners


def bandwidth(cluster: Cluster, gpus: int) -> float:
    """Bytes per second and GPU between so many of them."""
    return cluster.node_bandwidth if gpus <= cluster.node_gpus else cluster.network_bandwidth


def update_seconds(tokens: int, longest: int, load: Workload, speed: Speed, cluster: Cluster) -> float:
    """An update: computing, shared by the ranks, and the part of their communication that does not hide behind it.

    With fully sharded weights each micro-batch gathers them twice and scatters their gradients once (ZeRO,
    arXiv 1910.02054, section 7): three times the weights' bytes per rank. A sequence is not divided between ranks.
    """
    ranks = cluster.learners
    computing = max(tokens / ranks, min(longest, tokens)) * speed.learn_token + load.minibatches * speed.update
    if ranks == 1:
        return computing
    micro_batches = load.minibatches * max(1, math.ceil(tokens / load.minibatches / ranks / load.token_budget))
    sent = 3 * micro_batches * speed.weight_bytes * (ranks - 1) / ranks
    return computing + exposed_seconds(sent, bandwidth(cluster, ranks), computing, hidden=cluster.overlap)


def sync_seconds(speed: Speed, cluster: Cluster) -> float:
    """From updated weights to generators that have them: a broadcast, or a file that each node reads."""
    if cluster.sync == "none":
        return 0.0
    receivers = cluster.generators
    if cluster.sync == "nccl":
        return speed.weight_bytes / bandwidth(cluster, receivers + cluster.learners)
    nodes = math.ceil(receivers / cluster.node_gpus)
    return disk_seconds(speed.weight_bytes, nodes, bandwidth=cluster.disk_bandwidth, reload=cluster.reload)


@dataclass(slots=True)
class Result:
    """What a simulated run took.

    Attributes:
        step: seconds per step, in the steady state.
        finished: when each step's update had reached the generators.
        stages: seconds of each stage of a run that plays stage by stage; they add up to its time.
        rollouts, tokens: how many completions were sampled, and their tokens.
        submitted: how many were started.
        generating, checking, learning: busy share of generators, sandbox workers and learner.
        syncing: share of the time in which weights are sent.
        stale: for each step, the updates between the weights that it began with and those that learned from it.
    """

    step: float = 0.0
    finished: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    rollouts: int = 0
    tokens: int = 0
    submitted: int = 0
    generating: float = 0.0
    checking: float = 0.0
    learning: float = 0.0
    syncing: float = 0.0
    stale: list[int] = field(default_factory=list)
