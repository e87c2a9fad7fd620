"""The ranks of a run that learns in several processes: rank 0 leads and plays, the others follow.

`python -m azr.train.ranks` is one of the others, started by `azr train` with `learner.processes` above 1.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from azr import settings, startup
from azr.config import Config
from azr.distributed.launch import Followers, join_group, torchrun_ranks
from azr.domains import registry
from azr.errors import UserError
from azr.learn.ranks import ALONE, Ranks
from azr.models import shipped
from azr.models.stored import stored_parameters
from azr.models.threads import SMALL, idle_cores, requested

if TYPE_CHECKING:
    from azr.distributed.group import Membership, Replicas

_LAST = 20.0
"""Seconds that a run has to end after a rank has died; its threads may wait for that rank in vain."""


class Leader:
    """Rank 0 of several.

    Args:
        config: of the run.
        size: number of ranks, with this one.

    Attributes:
        ranks: for learner and generator.
        config: the same, with the number of ranks and the kind of sharding that they have.
    """

    def __init__(self, config: Config, size: int) -> None:
        from azr.distributed.watch import Lookout

        self._followers = None if torchrun_ranks() else Followers(size - 1, "azr.train.ranks")
        try:
            membership = join_group(self._followers)
            self.config = _resolved(config, size, cuda=membership.cuda)
            membership.share(settings.dump(self.config))
            self.ranks = _make_ranks(self.config, membership)
        except BaseException:
            self._end_followers()
            raise
        self._died: str | None = None
        self._known = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._asked: Callable[[], None] = lambda: None
        self._lookout = Lookout(membership, self._lost, self._asked_to_stop)

    def guard(self, asked: Callable[[], None]) -> None:
        """From now on, cancel the current task if a rank dies, and call `asked` if one is asked to stop."""
        self._loop, self._task, self._asked = asyncio.get_running_loop(), asyncio.current_task(), asked

    def finish(self) -> None:
        """Dismiss the other ranks at the end of the run."""
        from torch import distributed

        self.ranks.dismiss()
        self._lookout.close()
        if self._followers:
            self._followers.wait()
        distributed.destroy_process_group()

    def abort(self) -> str | None:
        """End the other ranks after an error; returns what to say if it came from the death of one of them."""
        self._known.wait(5)  # an error in a transfer may come before the news of the death that caused it
        self._lookout.abandon()
        self._end_followers()
        return self._died

    def _lost(self, rank: int) -> None:
        self._died = f"learner rank {rank} has died; what it said is above. Resume the run with azr train --resume RUN"
        self._known.set()
        last = threading.Timer(_LAST, self._give_up)
        last.daemon = True
        last.start()
        if self._loop and self._task:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _give_up(self) -> None:
        print(f"azr: error: {self._died}", file=sys.stderr, flush=True)
        os._exit(2)

    def _asked_to_stop(self) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(lambda: self._asked())

    def _end_followers(self) -> None:
        if self._followers:
            self._followers.kill()


def processes(config: Config) -> int:
    """How many processes share each step of a run on this machine, by `learner.processes`."""
    if config.learner.processes != "auto":
        return config.learner.processes
    elsewhere = config.model.hosted or config.model.served is not None or bool(config.generation.urls)
    if elsewhere or not config.selfplay.learn or config.threads or requested() or not _small_on_a_cpu(config):
        return 1
    return min(2, max(1, idle_cores()))


def _small_on_a_cpu(config: Config) -> bool:
    """Whether the model is one whose arithmetic one core does as fast as several."""
    from azr.models.failures import pick_device

    parameters = stored_parameters(Path(shipped.resolve(config.model.name)))
    return parameters is not None and parameters < SMALL and pick_device(config.model.device).type == "cpu"


@contextmanager
def leading(config: Config) -> Iterator[tuple[Config, Leader | None]]:
    """Start the other ranks of a run, if it has any, and end them with it.

    Raises:
        UserError: they cannot be started, or one of them has died.
    """
    size = torchrun_ranks() or processes(config)
    if size == 1:
        yield _with_learner(config, processes=1), None
        return
    leader = Leader(config, size)
    try:
        yield leader.config, leader
    except BaseException as error:
        died = leader.abort()
        if died and not isinstance(error, UserError):
            raise UserError(died) from error
        raise
    leader.finish()


def ranks_of(leader: Leader | None) -> Ranks:
    """The ranks that share an update."""
    return ALONE if leader is None else leader.ranks


def follow_run() -> int:
    """Be another rank than the first, from start to end; returns the exit code."""
    from torch import distributed

    from azr.distributed.follow import follow
    from azr.distributed.watch import Report
    from azr.rollout.local.generator import make_share
    from azr.train.start import load_policy, make_learner, shares_rollouts

    membership = join_group()
    report = Report(membership)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all ranks of a machine; rank 0 decides
    signal.signal(signal.SIGTERM, lambda *_: report.ask_to_stop())
    try:
        config = settings.build(tomllib.loads(membership.share("")), registry.config_class, source="rank 0")
        ranks = _make_ranks(config, membership)
        policy = load_policy(config, processes=membership.local_size)
        calls = make_learner(config, policy, ranks).calls
        if shares_rollouts(config, ranks):
            calls["decode"] = make_share(policy, config.generation, seed=config.seed, ranks=ranks).decode
        startup.done()
        follow(ranks, calls)
    except UserError as error:
        print(f"azr: learner rank {membership.rank} on {socket.gethostname()}: {error}", file=sys.stderr)
        return 2
    report.leave()
    distributed.destroy_process_group()
    return 0


def _make_ranks(config: Config, membership: Membership) -> Replicas:
    if config.learner.sharding == "replicated":
        from azr.distributed.group import Replicas

        return Replicas(membership)
    from azr.distributed.shards import Shards

    return Shards(membership)


def _resolved(config: Config, size: int, *, cuda: bool) -> Config:
    """The configuration with what "auto" means here, and the number of ranks that torchrun has started."""
    learner = config.learner
    if torchrun_ranks() and learner.processes not in ("auto", 1, size):
        raise UserError(f"learner.processes = {learner.processes}, but torchrun has started {size}; leave it out")
    can_shard = learner.optimizer != "adamw-8bit" and config.model.quantization == "none"
    auto = "sharded" if cuda and can_shard else "replicated"
    return _with_learner(config, processes=size, sharding=auto if learner.sharding == "auto" else learner.sharding)


def _with_learner(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"learner": config.learner.model_copy(update=changes)})


if __name__ == "__main__":
    startup.begin()
    sys.exit(follow_run())
