"""The processes that learn together, as the learner sees them. Here: one process; `azr.distributed` has several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import Tensor

from azr.learn.logprobs import Scorer
from azr.learn.optimizer import whole_norm

_Value = TypeVar("_Value")


class Ranks:
    """A group of processes, each of which takes a share of every update. This base class is a group of one.

    All ranks call the methods below in the same order; each call but `shard` and `own` may wait for the other ranks.

    Attributes:
        rank: number of this process; rank 0 plays and leads.
        size: number of processes.
        local_size: number of those on this machine.
        sharded: whether each rank holds only a part of the trained model, its gradient and the optimizer's state.
        control: the process group through which ranks agree; None for one process.
        calling: held by a thread of rank 0 during a call and what follows it on all ranks, where another thread might
            call too.
    """

    rank = 0
    size = 1
    local_size = 1
    sharded = False
    control: Any = None
    calling: AbstractContextManager[Any] = nullcontext()

    def call(self, name: str, *arguments: Any) -> None:
        """Make the other ranks carry something out by its name. Only rank 0 calls; elsewhere this does nothing."""

    def check(self, check: Callable[[], None]) -> None:
        """Call `check` on this rank. If it raises `UpdateStopped` on one rank, it raises on all of them."""
        check()

    def each(
        self, works: Sequence[Callable[[], None] | None], idle: Callable[[], object], check: Callable[[], None]
    ) -> None:
        """Do this rank's micro-batches.

        Args:
            works: for each micro-batch, a forward pass, or a forward and a backward pass; None where nothing is left to
                do on this rank. Every rank has the same number of them.
            idle: the same passes over one row, with no effect on any result. A rank without work calls it if the other
                ranks' passes need this one to communicate with.
            check: called before each micro-batch; may raise `UpdateStopped`.

        Raises:
            UpdateStopped: on all ranks, if `check` raised it on one.
            torch.OutOfMemoryError: on all ranks, if memory ran out on one. With one process, whatever `works` raise.
        """
        for work in works:
            check()
            if work is not None:
                work()

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all ranks, by rank."""
        return [value]

    def own(self, model: Any) -> Any:
        """The model that this rank trains, given the one it loaded: that one, or a copy if it is needed whole."""
        return model

    def shard(self, scorer: Scorer) -> Scorer:
        """A scorer of the same model, of which this rank may then hold only a part."""
        return scorer

    def reduce(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The gradients of a model that all ranks hold whole, summed over the ranks."""
        return gradients

    def reduce_policy(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The policy's gradients, summed over the ranks."""
        return gradients

    def norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """The 2-norm of the policy's parameters or gradients, of which this rank has these tensors."""
        return whole_norm(tensors)

    def publish(self, trained: Any, whole: Any) -> None:
        """Copy the trained model's weights into rank 0's whole model, unless they are the same."""

    def receive(self, trained: Any, whole: Any) -> None:
        """Copy the weights of rank 0's whole model into the trained model, unless they are the same."""


ALONE = Ranks()
"""One process, which does all the work."""
