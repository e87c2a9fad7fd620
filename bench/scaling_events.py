"""The simulation itself: `simulate` plays steps of a `Workload` on a `Cluster`, event by event, with simpy."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import simpy
from scaling_model import Cluster, Result, Speed, Workload, sync_seconds, update_seconds

Process = Generator[simpy.Event, Any, Any]


def simulate(load: Workload, speed: Speed, cluster: Cluster, *, steps: int = 6, seed: int = 0) -> Result:
    """Play so many steps and measure them.

    The time per step leaves out the first third, and with staleness k at least the first and the last k steps.
    """
    run = _Run(load, speed, cluster, steps, seed)
    run.env.process(run.play_all())
    run.env.run(until=run.env.process(run.learn_all()))
    return run.measured()


class _Generator:
    """One replica, which decodes up to `rows` sequences together and admits others as they end."""

    def __init__(self, env: simpy.Environment, speed: Speed, rows: int) -> None:
        self._env, self._speed, self._rows = env, speed, rows
        self._waiting: deque[tuple[int, int, simpy.Event]] = deque()
        self._running: list[tuple[float, int, simpy.Event]] = []
        self._done, self._order = 0.0, count()  # tokens that a row admitted at the start would have by now
        self._wake, self._open = env.event(), env.event()
        self._open.succeed()
        self.busy = 0.0
        self.load = 0
        env.process(self._decode())

    def sample(self, prompt: int, tokens: int) -> simpy.Event:
        """Queue a sequence; the event comes with its last token."""
        ended = self._env.event()
        self._waiting.append((prompt, tokens, ended))
        self.load += 1
        if not self._wake.triggered:
            self._wake.succeed()
        return ended

    def pause(self) -> None:
        """Stop at the next event, for new weights."""
        self._open = self._env.event()
        if not self._wake.triggered:
            self._wake.succeed()

    def resume(self) -> None:
        """Go on where it paused."""
        self._open.succeed()

    def _decode(self) -> Process:
        while True:
            yield self._open
            self._wake = self._env.event()
            if prompts := self._admit():
                yield from self._work(prompts * self._speed.read)
            if not self._running:
                yield self._wake
                continue
            pace = self._speed.decode_base + self._speed.decode_row * len(self._running)
            begin, target = self._env.now, self._running[0][0]
            finishing = self._env.timeout((target - self._done) * pace)
            yield finishing | self._wake
            self.busy += self._env.now - begin
            self._done = target if finishing.processed else self._done + (self._env.now - begin) / pace
            while self._running and self._running[0][0] <= self._done + 1e-9:
                self.load -= 1
                heapq.heappop(self._running)[2].succeed()

    def _admit(self) -> int:
        """Move what has room from the queue; returns the prompt tokens to read."""
        prompts = 0
        while self._waiting and len(self._running) < self._rows:
            prompt, tokens, ended = self._waiting.popleft()
            heapq.heappush(self._running, (self._done + tokens, next(self._order), ended))
            prompts += prompt
        return prompts

    def _work(self, seconds: float) -> Process:
        yield self._env.timeout(seconds)
        self.busy += seconds


class _Run:
    """One simulated run."""

    def __init__(self, load: Workload, speed: Speed, cluster: Cluster, steps: int, seed: int) -> None:
        self.env = simpy.Environment()
        self._load, self._speed, self._cluster, self._steps = load, speed, cluster, steps
        self._generators = [_Generator(self.env, speed, cluster.rows) for _ in range(cluster.generators)]
        self._least = [(0, index) for index in range(cluster.generators)]
        self._sandbox = simpy.Resource(self.env, capacity=cluster.workers)
        self._batches = simpy.Store(self.env)
        self._seed = seed
        self._slow = np.random.default_rng((seed, steps)) if speed.slow_share else None
        self._updated = [self.env.event() for _ in range(steps)]
        self._version = 0
        self._checked = self._learnt = self._synced = 0.0
        self._result = Result()

    # Playing

    def play_all(self) -> Process:
        """Begin each step as soon as the weights are new enough: at most `staleness` updates behind."""
        staleness = 0 if self._cluster.colocated else self._cluster.staleness
        for step in range(self._steps):
            if step > staleness:
                yield self._updated[step - staleness - 1]
            self.env.process(self._play(step, self._version))

    def _play(self, step: int, version: int) -> Process:
        load, learnt = self._load, list[int]()
        rng = np.random.default_rng((self._seed, step))  # a step is the same in every layout

        def draw(among: tuple[int, ...], number: int) -> list[int]:
            return rng.choice(np.asarray(among), number).tolist()

        valid = round(load.valid * load.proposals)
        proposals = draw(load.propose_tokens, load.proposals)
        drawn = [draw(load.solve_tokens, load.attempts) for _ in range(valid)]
        others = load.proposals - valid if load.learn_from_samples else load.proposals
        attempts = load.attempts if load.learn_from_samples else 1
        later = [draw(load.solve_tokens, attempts) for _ in range(others)]
        learnt += proposals + [tokens for group in later for tokens in group]
        if load.learn_from_samples:
            learnt += [tokens for group in drawn for tokens in group]
        if load.barrier:
            yield from self._by_stages(proposals, drawn, later)
        else:
            tasks = drawn + [list[int]()] * (load.proposals - valid)
            yield self._all(lambda: (self._episode(*one) for one in zip(proposals, tasks, strict=True)))
            yield self._all(lambda: (self._solve(group) for group in later))
        yield self._batches.put((step, version, learnt))

    def _by_stages(self, proposals: list[int], drawn: list[list[int]], later: list[list[int]]) -> Process:
        speed = self._speed
        with self._stage("propose"):
            yield self._all(lambda: (self._sample(tokens) for tokens in proposals))
        with self._stage("validate"):
            yield self._all(lambda: (self._check(speed.validate) for _ in proposals))
        for groups in (drawn, later):
            with self._stage("solve"):
                yield self._all(lambda groups=groups: (self._group(group) for group in groups))
            with self._stage("verify"):
                yield self._all(lambda groups=groups: (self._check(speed.verify) for group in groups for _ in group))

    def _episode(self, proposal: int, attempts: list[int]) -> Process:
        yield from self._sample(proposal)
        yield from self._check(self._speed.validate)
        yield from self._solve(attempts)

    def _solve(self, group: list[int]) -> Process:
        yield self._all(lambda: (self._attempt(tokens, at == 0) for at, tokens in enumerate(group)))

    def _attempt(self, tokens: int, first: bool) -> Process:
        yield from self._sample(tokens, first=first)
        yield from self._check(self._speed.verify)

    def _group(self, group: list[int]) -> Process:
        yield self._all(lambda: (self._sample(tokens, first=at == 0) for at, tokens in enumerate(group)))

    def _sample(self, tokens: int, *, first: bool = True) -> Process:
        """Sample one completion on the least loaded generator; attempts at one task share the reading of its prompt."""
        self._result.submitted += 1
        generator = self._least_loaded()
        yield generator.sample(self._load.prompt_tokens if first else 0, tokens)
        self._result.rollouts += 1
        self._result.tokens += tokens

    def _least_loaded(self) -> _Generator:
        while True:  # an entry may be out of date: loads fall as sequences end
            load, index = self._least[0]
            now = self._generators[index].load
            heapq.heapreplace(self._least, (now + (now == load), index))
            if now <= load:
                return self._generators[index]

    def _check(self, seconds: float) -> Process:
        if self._slow is not None and self._slow.random() < self._speed.slow_share:
            seconds = self._speed.slow_seconds
        with self._sandbox.request() as free:
            yield free
            yield self.env.timeout(seconds)
        self._checked += seconds

    # Learning

    def learn_all(self) -> Process:
        """Learn from the steps in their order, and send the weights after each."""
        load, ready = self._load, dict[int, tuple[int, list[int]]]()
        for step in range(self._steps):
            while step not in ready:
                number, version, learnt = yield self._batches.get()
                ready[number] = (version, learnt)
            version, learnt = ready.pop(step)
            self._result.stale.append(self._version - version)
            sizes = [load.prompt_tokens + tokens for tokens in learnt]
            seconds = update_seconds(sum(sizes), max(sizes), load, self._speed, self._cluster)
            with self._stage("learn"):
                yield self.env.timeout(seconds)
            self._learnt += seconds
            with self._stage("sync"):
                yield from self._send()
            self._result.finished.append(self.env.now)

    def _send(self) -> Process:
        seconds = sync_seconds(self._speed, self._cluster)
        for generator in self._generators if seconds else ():
            generator.pause()
        yield self.env.timeout(seconds)
        self._synced += seconds
        for generator in self._generators if seconds else ():
            generator.resume()
        self._version += 1
        self._updated[self._version - 1].succeed()

    # Measuring

    def measured(self) -> Result:
        """The figures of the run so far."""
        result, cluster, end = self._result, self._cluster, self.env.now
        # Neither while the pipeline fills nor while it runs dry: at its end fewer steps share the generators.
        lag = 0 if cluster.colocated else cluster.staleness
        skipped = min(max(self._steps // 3, lag), self._steps - 1)
        last = max(skipped + 1, self._steps - lag)
        begin = result.finished[skipped - 1] if skipped else 0.0
        result.step = (result.finished[last - 1] - begin) / (last - skipped)
        result.generating = sum(one.busy for one in self._generators) / end / cluster.generators
        result.checking = self._checked / end / cluster.workers
        result.learning, result.syncing = self._learnt / end, self._synced / end
        return result

    def _all(self, processes: Callable[[], Iterator[Process]]) -> simpy.Event:
        return self.env.all_of([self.env.process(one) for one in processes()])

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        begin = self.env.now
        yield
        self._result.stages[name] = self._result.stages.get(name, 0.0) + self.env.now - begin
