"""What every rank but the first does: it waits for what rank 0 calls, and does its share of it."""

from __future__ import annotations

from azr.distributed.group import Replicas
from azr.learn.base import UpdateStopped
from azr.learn.learner import PolicyLearner


def follow(ranks: Replicas, learner: PolicyLearner) -> None:
    """Carry out rank 0's calls until the end of the run.

    Errors that all ranks raise at the same point end the call only: rank 0 raises them too, and decides what follows.
    """
    while (call := ranks.next_call()) is not None:
        name, arguments = call
        try:
            learner.obey(name, *arguments)
        except (UpdateStopped, FloatingPointError):
            continue
