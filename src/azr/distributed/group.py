"""A group of processes that learn together, over torch.distributed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from azr.learn.base import UpdateStopped
from azr.learn.ranks import Ranks
from azr.models.failures import out_of_memory

_Value = TypeVar("_Value")

_BUCKET = 25 * 2**20
"""Bytes of gradients that are sent together, or one gradient that is larger."""

_OUT_OF_MEMORY = "out of memory on a rank of the learner"
_WELL, _FAILED, _STOPPED = 0, 1, 2
"""How a rank's work goes on, the last of which counts for all: it does; memory ran out; it was asked to stop."""

_PATIENCE = timedelta(days=30)
"""How long a rank waits for the next call; rank 0 may play for hours. `azr.distributed.watch` notices dead ranks."""


@dataclass(frozen=True, slots=True)
class Membership:
    """This process's place among the ranks of a run.

    Attributes:
        rank: its number; 0 leads.
        size: number of ranks.
        local_rank: its number among the ranks of its machine; the index of its GPU.
        local_size: number of ranks on its machine.
        control: process group for calls and agreements, on the CPU.
        data: process group for gradients and weights, on the devices that compute.
        watch: process group for `azr.distributed.watch`.
        cuda: whether the ranks compute on CUDA.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    control: Any
    data: Any
    watch: Any
    cuda: bool

    def share(self, value: _Value) -> _Value:
        """Rank 0's value, on all ranks."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]


def join(store: Any | None, *, patience: float) -> Membership:
    """Join the group that the environment describes, as torchrun sets it up (RANK, WORLD_SIZE, LOCAL_RANK, ...).

    Args:
        store: through which the ranks find each other; None: the one that torchrun started.
        patience: seconds after which a rank that does not answer the watch counts as dead.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    data = dist.new_group(backend="nccl" if cuda else "gloo", timeout=timedelta(minutes=30))
    watch = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience))
    return Membership(rank, size, local_rank, local_size, dist.group.WORLD, data, watch, cuda)


class Replicas(Ranks):
    """Ranks that all hold the whole model: each takes a share of the rollouts, and the gradients are summed.

    Args:
        membership: of this process.
    """

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.rank, self.size, self.local_size = membership.rank, membership.size, membership.local_size
        self.control, self._data = membership.control, membership.data
        self.calling = threading.RLock()

    def call(self, name: str, *arguments: Any) -> None:
        """Make the other ranks carry out a call; see `Ranks.call`."""
        if self.rank == 0:
            with self.calling:
                self.membership.share((name, arguments))

    def next_call(self) -> tuple[str, tuple[Any, ...]] | None:
        """Wait for what rank 0 calls next; None at the end of the run."""
        return self.membership.share(None)

    def dismiss(self) -> None:
        """Tell the other ranks that the run has ended, after any call that is still under way."""
        with self.calling:
            self.membership.share(None)

    def check(self, check: Callable[[], None]) -> None:
        """Stop on all ranks if one is asked to; see `Ranks.check`."""
        stopped = False
        try:
            check()
        except UpdateStopped:
            stopped = True
        if self._any(stopped):
            raise UpdateStopped

    def each(
        self, works: Sequence[Callable[[], None] | None], idle: Callable[[], object], check: Callable[[], None]
    ) -> None:
        """Do this rank's micro-batches; see `Ranks.each`.

        Ranks need each other only when all is done. So none waits for another before: after each micro-batch it says
        how that went, and looks whether another has said that the work is over.
        """
        state, said = _WELL, list[tuple[dist.Work, Tensor]]()
        for work in works:
            state = max([state, *(int(flag) for sending, flag in said if sending.is_completed())])
            if state == _WELL:
                state = _outcome(work, check)
            flag = torch.tensor([state])
            sending = dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.control, async_op=True)
            said.append((sending, flag))
        for sending, _ in said:
            sending.wait()
        state = max((int(flag) for _, flag in said), default=_WELL)
        if state == _STOPPED:
            raise UpdateStopped
        if state == _FAILED:
            raise torch.OutOfMemoryError(_OUT_OF_MEMORY)

    def agree(self, failed: bool) -> None:
        """Raise on all ranks if memory ran out on one of them.

        Raises:
            torch.OutOfMemoryError: it did.
        """
        if self._any(failed):
            raise torch.OutOfMemoryError(_OUT_OF_MEMORY)

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all ranks, by rank."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def reduce(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Sum gradients over the ranks. A rank without a share of the rollouts has none, and adds zeros.

        Small ones are sent together: a transfer takes longer to begin than a few megabytes take to send.
        """
        present = torch.tensor([gradient is not None for gradient in gradients], dtype=torch.int64)
        dist.all_reduce(present, group=self.control)
        total: list[Tensor | None] = list(gradients)
        if bool(((present > 0) & (present < self.size)).any()):  # a rank has some that another has not
            forms = self.gather([None if one is None else (one.shape, one.dtype, one.device.type) for one in total])
            for i, each in enumerate(zip(*forms, strict=True)):
                form = next((form for form in each if form is not None), None)
                if total[i] is None and form is not None:
                    shape, dtype, where = form
                    total[i] = torch.zeros(shape, dtype=dtype, device=self._device() if where == "cuda" else where)
        for bucket in _buckets(total):
            flat = torch.cat([gradient.reshape(-1) for _, gradient in bucket])
            there = flat.to(self._device())
            dist.all_reduce(there, group=self._data)
            parts = torch.split(there.to(flat.device), [gradient.numel() for _, gradient in bucket])
            for (i, gradient), part in zip(bucket, parts, strict=True):
                total[i] = part.view(gradient.shape)
        return total

    def reduce_policy(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Sum the policy's gradients over the ranks."""
        return self.reduce(gradients)

    def _any(self, here: bool) -> bool:
        flag = torch.tensor([int(here)])
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.control)
        return bool(flag.item())

    def _device(self) -> torch.device:
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _buckets(gradients: Sequence[Tensor | None]) -> Iterator[list[tuple[int, Tensor]]]:
    """Gradients with their numbers, those of one type and device together, up to `_BUCKET` bytes."""
    kinds: dict[tuple[torch.dtype, str], list[tuple[int, Tensor]]] = {}
    for i, gradient in enumerate(gradients):
        if gradient is None:
            continue
        bucket = kinds.setdefault((gradient.dtype, gradient.device.type), [])
        if bucket and sum(one.nbytes for _, one in bucket) + gradient.nbytes > _BUCKET:
            yield list(bucket)
            bucket.clear()
        bucket.append((i, gradient))
    yield from filter(None, kinds.values())


def _outcome(work: Callable[[], None] | None, check: Callable[[], None]) -> int:
    """Do one micro-batch's work, unless there is none or the update is to stop."""
    try:
        check()
    except UpdateStopped:
        return _STOPPED
    return _FAILED if work is not None and runs_out_of_memory(work) else _WELL


def runs_out_of_memory(work: Callable[[], object]) -> bool:
    """Do some work; returns whether it failed because memory ran out. Any other error is raised."""
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return True
    return False
