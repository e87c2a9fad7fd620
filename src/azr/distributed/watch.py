"""Ranks that watch each other: who has died, and who was asked to stop.

Between calls of rank 0 nothing is sent, so a rank that dies would be missed only when the next update begins. Each
other rank therefore exchanges a short message with rank 0 every two seconds, in a thread and a process group of its
own. A process that ends closes its connections, which the other side notices at once. A machine that is gone is
noticed when a message takes longer than the group's timeout.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import torch
import torch.distributed as dist

from azr.distributed.group import Membership

PATIENCE = 45.0
"""Seconds without an answer after which a rank counts as dead."""

_EVERY = 2.0
_WELL, _ASKED, _LEAVING = 0, 1, 2


class Lookout:
    """Rank 0's side.

    Args:
        membership: of rank 0.
        lost: called once, from another thread, when a rank has died; gets its number.
        asked: called, from another thread, when a rank was asked to stop.
    """

    def __init__(self, membership: Membership, lost: Callable[[int], None], asked: Callable[[], None]) -> None:
        self._group, self._lost, self._asked = membership.watch, lost, asked
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(rank,), daemon=True, name=f"azr-watch-{rank}")
            for rank in range(1, membership.size)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Wait until all ranks have left."""
        for thread in self._threads:
            thread.join(PATIENCE)

    def abandon(self) -> None:
        """Report no deaths any more."""
        self._closed.set()

    def _watch(self, rank: int) -> None:
        message = torch.zeros(1, dtype=torch.long)
        while True:
            try:
                dist.recv(message, src=rank, group=self._group)
                if message.item() == _LEAVING:
                    return
                dist.send(message, dst=rank, group=self._group)
            except RuntimeError:
                if not self._closed.is_set():
                    self._closed.set()
                    self._lost(rank)
                return
            if message.item() == _ASKED:
                self._asked()


class Report:
    """The side of any other rank, which ends this process if rank 0 has died.

    Args:
        membership: of this rank.
    """

    def __init__(self, membership: Membership) -> None:
        self._group, self._rank = membership.watch, membership.rank
        self._wake, self._state = threading.Event(), _WELL
        self._thread = threading.Thread(target=self._report, daemon=True, name="azr-report")
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Tell rank 0 that this rank was asked to stop; may be called in a signal handler."""
        self._state = _ASKED
        self._wake.set()

    def leave(self) -> None:
        """Tell rank 0 that this rank ends as it should."""
        self._state = _LEAVING
        self._wake.set()
        self._thread.join(PATIENCE)

    def _report(self) -> None:
        answer = torch.zeros(1, dtype=torch.long)
        while True:
            self._wake.wait(_EVERY)
            self._wake.clear()
            state, self._state = self._state, _WELL if self._state == _ASKED else self._state
            try:
                dist.send(torch.tensor([state]), dst=0, group=self._group)
                if state == _LEAVING:
                    return
                dist.recv(answer, src=0, group=self._group)
            except RuntimeError:
                print(f"azr: learner rank {self._rank}: rank 0 has gone, so this rank ends", file=sys.stderr)
                os._exit(1)  # the main thread may wait for rank 0 in a transfer that never ends
