"""Ways to divide a machine's GPUs among ranks that learn and vLLM servers that sample.

For each the memory per GPU is counted, and the time per step estimated from the figures in `azr.plan.assumed`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from azr.config import Config
from azr.plan.assumed import ALL_REDUCE, disk_seconds, exposed_seconds
from azr.plan.cards import Card
from azr.plan.load import assumed_load
from azr.plan.machine import ServerMemory, rank_memory, server_memory
from azr.plan.memory import Memory, Shape
from azr.plan.pace import BANDWIDTH_SHARE, FLOPS_SHARE, operations

URL = "http://127.0.0.1:8000"

Resolve = Callable[[Sequence[str]], Config]
"""The configuration of the run with these assignments added."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to divide the GPUs.

    Attributes:
        config: of the run.
        words: assignments that make the run use it.
        ranks: GPUs that learn.
        sharded: whether the ranks divide the model.
        copies: of the model that sample on servers; 0: the ranks sample, or rank 0 alone if they are sharded.
        tensor_parallel: GPUs per copy.
        memory: of rank 0, and of the other ranks.
        server: memory of a GPU that serves; None without servers.
        seconds: of a step, by what they are spent on; none if they cannot be estimated.
    """

    config: Config
    words: tuple[str, ...]
    ranks: int
    sharded: bool
    copies: int
    tensor_parallel: int
    memory: tuple[Memory, ...]
    server: ServerMemory | None
    seconds: dict[str, float]

    @property
    def step(self) -> float:
        """Seconds per step."""
        return sum(self.seconds.values())

    def short(self, room: int) -> int:
        """Bytes that the fullest GPU lacks; at most 0 if it fits. A server must hold one sequence of full length."""
        lacking = max(memory.peak for memory in self.memory) - room
        return max(lacking, 1) if self.server and self.server.rows < 1 else lacking


def layouts(resolve: Resolve, shape: Shape, card: Card, *, gpus: int, room: int, width: int) -> Iterator[Layout]:
    """All ways to use up to so many GPUs of one machine.

    Args:
        resolve: see `Resolve`.
        shape: of the model.
        card: the GPUs.
        gpus: how many there are.
        room: bytes that may be used on each.
        width: bytes per number that the model computes with.
    """
    config = resolve([])
    for ranks in range(1, gpus + 1 if config.selfplay.learn else 2):
        for sharding in _shardings(config, ranks):
            for copies, parallel in _servers(shape, gpus - ranks):
                words = [f"learner.processes={ranks}", f"learner.sharding={sharding}"] if ranks > 1 else []
                words += [f"generation.urls={URL}"] if copies else []
                words += [f"generation.max_rows={config.generation.max_rows * copies}"] if copies > 1 else []
                made = _Machine(shape, resolve(words), card, width, room)
                yield made.layout(words, ranks, sharded=sharding == "sharded", copies=copies, parallel=parallel)


def _shardings(config: Config, ranks: int) -> list[str]:
    learner = config.learner
    if ranks == 1:
        return ["replicated"]
    if learner.sharding != "auto":
        return [learner.sharding]
    divisible = learner.optimizer != "adamw-8bit" and config.model.quantization == "none"
    return ["replicated", "sharded"] if divisible else ["replicated"]


def _servers(shape: Shape, gpus: int) -> list[tuple[int, int]]:
    """Copies of the model, and GPUs per copy."""
    found = [(gpus // each, each) for each in (1, 2, 4, 8) if each <= gpus and shape.heads % each == 0]
    return found or [(0, 1)]


@dataclass(frozen=True, slots=True)
class _Machine:
    shape: Shape
    config: Config
    card: Card
    width: int
    room: int

    def layout(self, words: Sequence[str], ranks: int, *, sharded: bool, copies: int, parallel: int) -> Layout:
        shape, config, width = self.shape, self.config, self.width
        memory = tuple(
            rank_memory(shape, config, width=width, ranks=ranks, sharded=sharded, first=first, samples=not copies)
            for first in (True, False)[:ranks]
        )
        server, seconds = None, dict[str, float]()
        if copies:
            server = server_memory(shape, config, width=width, tensor_parallel=parallel, room=self.room)
        if self.card.flops is not None and not config.learner.offload:
            replicas = copies or (1 if sharded else ranks)
            seconds = self._sampling(server, self.card.flops * FLOPS_SHARE, replicas=replicas, parallel=parallel)
            if config.selfplay.learn:
                seconds |= self._learning(memory[-1], self.card.flops * FLOPS_SHARE, ranks=ranks, sharded=sharded)
            if copies:
                seconds["sending weights to the servers"] = disk_seconds(shape.parameters * width, 1)
        return Layout(config, tuple(words), ranks, sharded, copies, parallel, memory, server, seconds)

    def _sampling(self, server: ServerMemory | None, flops: float, *, replicas: int, parallel: int) -> dict[str, float]:
        """Prompts are read and answers decoded on all replicas at once; the longest answers may take longer."""
        shape, card, width, load = self.shape, self.card, self.width, assumed_load(self.config)
        rows, bandwidth = self.config.generation.max_rows, card.bandwidth * BANDWIDTH_SHARE
        if server is not None:
            rows = max(1, min(rows // replicas, int(server.tokens / load.context)))
        token = 2 * shape.layers * shape.kv * width

        def iteration(at_once: float) -> float:
            """Seconds in which each row gets a token."""
            read = (shape.parameters * width + at_once * load.context * token) / bandwidth
            alone = max(read, 2 * shape.parameters * at_once / flops)
            sent = at_once * shape.hidden * width * 2 * (parallel - 1) / parallel
            sums = 2 * shape.layers * (ALL_REDUCE + sent / card.link) if parallel > 1 else 0.0
            return alone / parallel + sums

        at_once = min(rows, load.rollouts / replicas)
        reading = load.read * load.prompt * 2 * shape.parameters / flops / (replicas * parallel)
        all_of_it = reading + load.sampled / replicas / at_once * iteration(at_once)
        alone = load.longest * iteration(1)
        return {"sampling": all_of_it, "waiting for the longest answers": max(0.0, alone - all_of_it)}

    def _learning(self, memory: Memory, flops: float, *, ranks: int, sharded: bool) -> dict[str, float]:
        """An update: sharded weights are gathered twice per micro-batch, and gradients summed in float32."""
        shape, card, learner = self.shape, self.card, self.config.learner
        learnt = shape.adapter * self.config.model.lora.rank or shape.parameters
        steps = learner.epochs * learner.minibatches
        tokens = assumed_load(self.config).learnt * learner.epochs
        state = memory.optimizer + memory.gradients
        computing = tokens / ranks * operations(self.config) * shape.parameters / flops
        computing += steps * 2 * state / (card.bandwidth * BANDWIDTH_SHARE)
        if ranks == 1:
            return {"learning": computing}
        others = (ranks - 1) / ranks
        if sharded:
            batches = steps * max(1, -(-tokens // (steps * ranks * learner.token_budget)))
            sent = batches * others * (2 * shape.parameters * self.width + 4 * learnt)
            moving = exposed_seconds(sent, card.link, computing)
        else:
            moving = steps * others * 2 * 4 * learnt / card.link
        return {"learning": computing, "transfers between ranks": moving}
