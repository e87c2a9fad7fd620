"""What every rank but the first does: it waits for what rank 0 calls, and does its share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from azr.distributed.group import Replicas
from azr.learn.base import UpdateStopped

Calls = Mapping[str, Callable[..., Any]]
"""What rank 0 may call, by name."""


def follow(ranks: Replicas, calls: Calls) -> None:
    """Carry out rank 0's calls until the end of the run.

    Errors that all ranks raise at the same point end the call only: rank 0 raises them too, and decides what follows.
    """
    while (call := ranks.next_call()) is not None:
        name, arguments = call
        try:
            calls[name](*arguments)
        except (UpdateStopped, FloatingPointError, torch.OutOfMemoryError):
            continue
