"""The rows of a generator: those in flight, and those that wait for a slot. They may be shared among processes.

Rank 0's generator gives each ticket to the rank with the fewest rows. Then all ranks decode for a number of steps at
the same time, and rank 0 gathers what has ended. Every rank's rows are a function of the tickets and of the number of
ranks alone, so a run equals its repetition with the same number of processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from azr.models.failures import out_of_memory
from azr.rollout.local.decode import Decoder, Finished, Ticket


class Batch(Protocol):
    """Rows in flight and waiting. `turn` and `reset` are called in the generator's thread, all else between turns."""

    @property
    def rows(self) -> int:
        """Rows that have not ended."""
        ...

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Add rows, each of which starts when there is a slot, first come, first served."""
        ...

    def drop(self, unwanted: Callable[[Ticket], bool]) -> None:
        """Drop rows that nobody waits for."""
        ...

    def turn(self, steps: int) -> list[Finished]:
        """Decode, at most this many steps; returns the rows that have ended."""
        ...

    def restarted(self) -> Batch:
        """A batch without rows, to be used instead of this one. A running turn of this one ends soon."""
        ...

    def reset(self) -> None:
        """Forget the rows of the batch that this one replaces."""
        ...


_Value = TypeVar("_Value")


class Peers(Protocol):
    """The processes that share the rows; `azr.learn.ranks.Ranks` is one such group.

    Attributes:
        rank: number of this process; rank 0 leads.
        size: number of processes.
        calling: held while a call and what follows it on all ranks are under way.
    """

    rank: int
    size: int
    calling: AbstractContextManager[Any]

    def call(self, name: str, *arguments: Any) -> None:
        """Make the other ranks carry something out. Only rank 0 calls."""
        ...

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all ranks, by rank."""
        ...


class OwnBatch:
    """Rows of this process's decoder alone.

    Args:
        decoder: continues them.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._queue: deque[Ticket] = deque()
        self._replaced = False

    @property
    def rows(self) -> int:
        """Rows that have not ended."""
        return self._decoder.rows + sum(len(ticket.rows) for ticket in self._queue)

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Add rows; see `Batch`."""
        self._queue += tickets

    def drop(self, unwanted: Callable[[Ticket], bool]) -> None:
        """Drop rows; see `Batch`."""
        self._decoder.evict(unwanted)
        self._queue = deque(ticket for ticket in self._queue if not unwanted(ticket))

    def turn(self, steps: int) -> list[Finished]:
        """Decode; see `Batch`."""
        finished: list[Finished] = []
        while steps and (self._decoder.rows or self._queue) and not self._replaced:
            if tickets := self._fitting():
                finished += self._decoder.admit(tickets)
            if self._decoder.rows:
                # Rows that wait get the slots of those that end at once.
                done, ended = self._decoder.run(1 if self._queue else steps)
                finished += ended
                steps -= done
        return finished

    def restarted(self) -> OwnBatch:
        """A batch without rows; see `Batch`."""
        self._replaced = True
        return OwnBatch(self._decoder)

    def reset(self) -> None:
        """Forget the rows in flight; see `Batch`."""
        self._decoder.reset()

    def _fitting(self) -> list[Ticket]:
        """Waiting tickets that fit beside the rows in flight."""
        free, tickets = self._decoder.free, []
        while self._queue and len(self._queue[0].rows) <= free:
            tickets.append(self._queue.popleft())
            free -= len(tickets[-1].rows)
        return tickets


@dataclass(frozen=True, slots=True)
class Turn:
    """What rank 0 asks all ranks to do.

    Attributes:
        new: for each rank, numbers and tickets to add.
        dropped: numbers of tickets that nobody waits for.
        steps: to decode, at most.
        afresh: whether all earlier rows are to be forgotten first.
    """

    new: Sequence[Sequence[tuple[int, Ticket]]]
    dropped: Collection[int]
    steps: int
    afresh: bool


Ended = tuple[int, int, tuple[int, ...], tuple[float, ...], bool]
"""Number of the ticket, and the fields of `Finished` after the ticket."""


class Share:
    """One rank's part of a shared batch.

    Args:
        decoder: of this rank.
        ranks: all of them.
    """

    def __init__(self, decoder: Decoder, ranks: Peers) -> None:
        self._decoder, self._ranks = decoder, ranks
        self._batch = OwnBatch(decoder)
        self._numbers: dict[Ticket, int] = {}

    def decode(self, turn: Turn) -> list[list[Ended]]:
        """Do this rank's part of a turn; returns what has ended on all ranks, by rank.

        Raises:
            torch.OutOfMemoryError: memory ran out on one of the ranks.
        """
        try:
            ended: list[Ended] | None = self._decode(turn)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            ended = None
        everywhere = self._ranks.gather(ended)
        if any(one is None for one in everywhere):
            self._forget()
            raise torch.OutOfMemoryError("out of memory on a rank")
        return [one for one in everywhere if one is not None]

    def _decode(self, turn: Turn) -> list[Ended]:
        if turn.afresh:
            self._forget()
        if turn.dropped:
            self._batch.drop(lambda ticket: self._numbers[ticket] in turn.dropped)
        new = turn.new[self._ranks.rank]
        self._numbers.update((ticket, number) for number, ticket in new)
        self._batch.add([ticket for _, ticket in new])
        ended = self._batch.turn(turn.steps)
        numbers = self._numbers
        if not self._batch.rows:
            self._numbers = {}
        return [(numbers[row.ticket], row.row, row.completion_ids, row.logprobs, row.ended) for row in ended]

    def _forget(self) -> None:
        self._decoder.reset()
        self._batch, self._numbers = OwnBatch(self._decoder), {}


class SharedBatch:
    """Rows of the decoders of all ranks, as rank 0 sees them.

    Args:
        share: rank 0's own.
        ranks: all of them; the others carry out "decode" calls.
    """

    def __init__(self, share: Share, ranks: Peers) -> None:
        self._share, self._ranks = share, ranks
        self._tickets: dict[int, Ticket] = {}
        self._places: dict[int, tuple[int, int]] = {}  # rank of a ticket, and how many of its rows have not ended
        self._load = [0] * ranks.size
        self._new: list[list[tuple[int, Ticket]]] = [[] for _ in range(ranks.size)]
        self._dropped: set[int] = set()
        self._count = 0
        self._afresh = True

    @property
    def rows(self) -> int:
        """Rows that have not ended."""
        return sum(self._load)

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Give each ticket to the rank with the fewest rows; see `Batch`."""
        for ticket in tickets:
            rank = self._load.index(min(self._load))
            self._load[rank] += len(ticket.rows)
            self._new[rank].append((self._count, ticket))
            self._tickets[self._count], self._places[self._count] = ticket, (rank, len(ticket.rows))
            self._count += 1

    def drop(self, unwanted: Callable[[Ticket], bool]) -> None:
        """Drop rows; see `Batch`."""
        for number in [number for number, ticket in self._tickets.items() if unwanted(ticket)]:
            rank, left = self._places.pop(number)
            self._load[rank] -= left
            del self._tickets[number]
            self._dropped.add(number)

    def turn(self, steps: int) -> list[Finished]:
        """Decode on all ranks; see `Batch`."""
        new = [[(n, t) for n, t in mine if n not in self._dropped] for mine in self._new]
        turn = Turn(new, frozenset(self._dropped), steps, self._afresh)
        self._new, self._dropped, self._afresh = [[] for _ in new], set(), False
        with self._ranks.calling:
            self._ranks.call("decode", turn)
            everywhere = self._share.decode(turn)
        return [self._finished(*row) for ended in everywhere for row in ended]

    def restarted(self) -> SharedBatch:
        """A batch without rows; see `Batch`."""
        return SharedBatch(self._share, self._ranks)

    def reset(self) -> None:
        """The next turn does it, on all ranks at once; see `Batch`."""

    def _finished(self, number: int, *fields: Any) -> Finished:
        """A row that has ended, with rank 0's own ticket."""
        ticket, (rank, left) = self._tickets[number], self._places[number]
        self._load[rank] -= 1
        self._places[number] = rank, left - 1
        if left == 1:
            del self._tickets[number], self._places[number]
        return Finished(ticket, *fields)
