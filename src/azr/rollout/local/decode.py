"""Continuous batching, one token at a time: rows join after their prompt is read, and leave when they end.

Synchronous and single-threaded; `generator.py` makes it a service.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from azr.errors import UserError
from azr.models.load import LanguageModel
from azr.models.plain import is_plain
from azr.rollout.base import Sampling
from azr.rollout.local.cache import RowCache
from azr.rollout.local.lean import LeanModel
from azr.rollout.local.sampling import draw
from azr.streams import stream

if TYPE_CHECKING:
    from azr.rollout.local.paged import PagedCache

_PREFILL_TOKENS = 8192
"""Prompt tokens, padding included, in one forward pass: enough to keep a device busy, and little enough memory."""

_PADDING = 256
"""Padding in one forward pass on a CPU. Computing more of it takes longer than another pass (docs/experiments.md)."""

_CHUNK = 128  # uniform numbers drawn at once from a row's stream; one call per token would cost more than the sampling
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Rows to sample for one prompt; row i draws from the stream (seed, key, i)."""

    prompt_ids: tuple[int, ...]
    key: str
    rows: range
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Finished:
    """A row of a ticket that has ended: its tokens, and whether the model ended it."""

    ticket: Ticket
    row: int
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


class _Slots:
    """The state of each row in flight, as arrays with one entry per slot, so that no step loops over rows."""

    def __init__(self, capacity: int) -> None:
        self.owner: list[tuple[Ticket, int]] = []
        self.streams: list[np.random.Generator] = []
        self.prompt = np.zeros(capacity, np.int64)  # tokens of the prompt
        self.drawn = np.zeros(capacity, np.int64)
        self.limit = np.zeros(capacity, np.int64)
        self.ended = np.zeros(capacity, bool)
        self.temperature = np.zeros(capacity, np.float32)
        self.top_p = np.zeros(capacity, np.float64)
        self.uniforms = np.zeros((capacity, _CHUNK), np.float64)
        self.ids = np.zeros((capacity, _CHUNK), np.int64)
        self.logprobs = np.zeros((capacity, _CHUNK), np.float32)

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def cached(self) -> NDArray[np.int64]:
        """Tokens in the key-value cache: all of a row but its newest."""
        return (self.prompt + self.drawn - 1)[: len(self)]

    def add(self, ticket: Ticket, seed: int) -> None:
        first, sampling = len(self), ticket.sampling
        new = slice(first, first + len(ticket.rows))
        self.owner += [(ticket, row) for row in ticket.rows]
        self.streams += [stream(seed, ticket.key, row) for row in ticket.rows]
        self.prompt[new] = len(ticket.prompt_ids)
        self.drawn[new] = 0
        self.limit[new] = sampling.max_new_tokens
        self.ended[new] = False
        self.temperature[new] = sampling.temperature
        self.top_p[new] = sampling.top_p

    def uniform(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the next number of each row's stream."""
        column = self.drawn[rows] % _CHUNK
        for row in rows[column == 0]:
            self.uniforms[row] = self.streams[row].random(_CHUNK)
        return self.uniforms[rows, column]

    def prepare(self, most: int) -> int:
        """Make room for more tokens in each row; returns for how many there is, at most `most`."""
        at = self.drawn[: len(self)]
        self.uniform(np.arange(len(self)))
        steps = min(most, _CHUNK - int((at % _CHUNK).max()))
        while at.max() + steps > self.ids.shape[1]:
            self._widen()
        return steps

    def _widen(self) -> None:
        self.ids, self.logprobs = (np.concatenate([a, np.zeros_like(a)], axis=1) for a in (self.ids, self.logprobs))

    def record(self, rows: NDArray[np.intp], ids: NDArray[np.int64], logprobs: NDArray[np.float32]) -> None:
        at = self.drawn[rows]
        if at.max() >= self.ids.shape[1]:
            self._widen()
        self.ids[rows, at], self.logprobs[rows, at] = ids, logprobs
        self.drawn[rows] += 1

    def finished(self, slot: int) -> Finished:
        ticket, row = self.owner[slot]
        used = slice(self.drawn[slot])
        ids, logprobs = self.ids[slot, used].tolist(), self.logprobs[slot, used].tolist()
        return Finished(ticket, row, tuple(ids), tuple(logprobs), bool(self.ended[slot]))

    def move(self, source: NDArray[np.intp], target: NDArray[np.intp], rows: int) -> None:
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array[target] = array[source]
        for entries in (self.owner, self.streams):
            for old, new in zip(source, target, strict=True):
                entries[new] = entries[old]
            del entries[rows:]


class Decoder:
    """The rows in flight, at most `max_rows`, and the model that continues them.

    `seed` is the first part of the name of every random stream.

    Raises:
        UserError: the architecture keeps a recurrent state, which cannot be batched this way.
    """

    def __init__(self, policy: LanguageModel, *, max_rows: int, seed: int) -> None:
        kinds = set(getattr(policy.model.config.get_text_config(), "layer_types", None) or ())
        if kinds - _ATTENTION:
            odd = ", ".join(sorted(kinds - _ATTENTION))
            raise UserError(
                f"model {policy.name}: layers of type {odd} are not supported; choose a pure attention model"
            )
        self._max_rows, self._seed = max_rows, seed
        self._eos = np.array(policy.eos_ids)
        self._policy = policy
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        accepted = inspect.signature(base.forward).parameters
        self._optional = tuple(name for name in ("position_ids", "logits_to_keep") if name in accepted)
        self._lean = LeanModel(policy) if is_plain(policy.model) else None
        self._compiled = self._lean is not None and self._lean.shares_prompts
        self.reset()

    @property
    def rows(self) -> int:
        """Rows in flight."""
        return len(self._slots)

    @property
    def free(self) -> int:
        """Rows that may still join."""
        return self._max_rows - self.rows

    @property
    def _nucleus(self) -> bool:
        """Whether a row draws from a nucleus."""
        return bool((self._slots.top_p[: self.rows] < 1).any())

    def reset(self) -> None:
        """Forget every row."""
        self._slots = _Slots(self._max_rows)
        self._cache: RowCache | PagedCache = _paged_cache() if self._compiled else RowCache()

    @torch.inference_mode()
    def evict(self, unwanted: Callable[[Ticket], bool]) -> None:
        """Drop rows that nobody waits for."""
        self._drop(np.array([unwanted(ticket) for ticket, _ in self._slots.owner], bool))

    @torch.inference_mode()
    def admit(self, tickets: Sequence[Ticket]) -> list[Finished]:
        """Read prompts, each once, and draw the first token of each of their rows, at most `free`."""
        first = self.rows
        if self._lean is not None and not first:
            self._lean.refresh()
        padding = _PADDING if self._policy.device.type == "cpu" else _PREFILL_TOKENS
        for group in _groups(sorted(tickets, key=lambda ticket: len(ticket.prompt_ids)), padding):
            before = self.rows
            logits_PV = self._prefill(group)
            for ticket in group:
                self._slots.add(ticket, self._seed)
            copies = torch.tensor([len(ticket.rows) for ticket in group], device=logits_PV.device)
            self._draw(np.arange(before, self.rows), logits_PV.repeat_interleave(copies, dim=0))
        return self._harvest(first)

    @torch.inference_mode()
    def run(self, most: int) -> tuple[int, list[Finished]]:
        """Draw up to `most` more tokens for every row; returns for how many steps, and the rows that have ended."""
        if self._compiled and self._lean is not None and self._lean.takes_steps and not self._nucleus:
            steps = self._several_steps(self._lean, most)
        else:
            self._step()
            steps = 1
        return steps, self._harvest(0)

    def _several_steps(self, lean: LeanModel, most: int) -> int:
        """Draw up to `most` tokens per row in one call; returns how many the longest row got."""
        slots, rows = self._slots, self.rows
        steps, before = slots.prepare(most), slots.drawn[:rows].copy()
        assert not isinstance(self._cache, RowCache)
        arrays = slots.ids, slots.logprobs, slots.drawn, slots.limit, slots.ended, slots.temperature, slots.uniforms
        lean.steps(steps, self._cache, arrays, self._eos)
        return int((slots.drawn[:rows] - before).max())

    def _step(self) -> None:
        """Draw one more token for every row."""
        slots, rows = self._slots, self.rows
        newest_R, cached_R = slots.ids[np.arange(rows), slots.drawn[:rows] - 1], slots.cached
        if self._lean is not None:
            logits_RV = self._lean.step(newest_R, cached_R, self._cache)
        else:
            assert isinstance(self._cache, RowCache)
            width = self._cache.width + 1
            mask_RC = np.arange(width) >= width - 1 - cached_R[:, None]
            logits_RV = self._forward(newest_R[:, None], mask_RC, cached_R[:, None], self._cache)
        self._cache.advance()
        self._draw(np.arange(rows), logits_RV)

    def _prefill(self, group: Sequence[Ticket]) -> Tensor:
        """Return the logits after each prompt, [P, V]; keys and values join the cache, once per row."""
        lengths, copies = np.array([len(ticket.prompt_ids) for ticket in group]), [len(ticket.rows) for ticket in group]
        if isinstance(self._cache, RowCache):
            ids, mask = _padded(group, lengths, int(self._eos[0]), left=True)
            prefilled = DynamicCache()
            logits_PV = self._forward(ids, mask, np.maximum(mask.cumsum(axis=1) - 1, 0), prefilled)
            self._cache.append(prefilled, copies, lengths)
            return logits_PV
        assert self._lean is not None
        ids, _ = _padded(group, lengths, int(self._eos[0]), left=False)
        logits_PV, seen = self._lean.read(ids, lengths)
        self._cache.append(seen, copies, lengths)
        return logits_PV

    def _forward(
        self, ids_RW: NDArray[np.int64], mask_RC: NDArray[np.bool_], positions_RW: NDArray[np.int64], cache: Cache
    ) -> Tensor:
        """Return the logits of the last column, [R, V].

        Args:
            ids_RW: tokens that the cache does not hold yet.
            mask_RC: for every column, the cache's and then the new ones, whether a row sees it.
            positions_RW: positions of the tokens in their sequences, from 0.
            cache: gets the keys and values of the new columns.
        """
        arrays = (ids_RW, mask_RC, positions_RW)
        ids, mask, positions = (torch.from_numpy(array).to(self._policy.device) for array in arrays)
        optional = {"position_ids": positions, "logits_to_keep": 1}
        output = self._policy.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: optional[name] for name in self._optional},
        )
        logits_RV: Tensor = output.logits[:, -1]
        return logits_RV

    def _draw(self, rows: NDArray[np.intp], logits_RV: Tensor) -> None:
        slots = self._slots
        if self._compiled and not (slots.top_p[rows] < 1).any():
            from azr.rollout.local.draw import draw as draw_compiled  # imports numba

            ids, logprobs = draw_compiled(logits_RV, slots.temperature[rows], slots.uniform(rows))
        else:
            ids, logprobs = self._draw_by_torch(rows, logits_RV)
        slots.record(rows, ids, logprobs)
        slots.ended[rows] = (ids[:, None] == self._eos).any(axis=1)

    def _draw_by_torch(
        self, rows: NDArray[np.intp], logits_RV: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        slots = self._slots
        # Apple's MPS has no float64.
        device = torch.device("cpu") if logits_RV.device.type == "mps" else logits_RV.device
        ids_R, logprobs_R = draw(
            logits_RV.to(device),
            temperature_R=torch.from_numpy(slots.temperature[rows]),
            top_p_R=torch.from_numpy(slots.top_p[rows]),
            uniform_R=torch.from_numpy(slots.uniform(rows)),
        )
        # One copy, so that the host waits for the device once per step; float64 holds both exactly.
        ids, logprobs = torch.stack((ids_R.double(), logprobs_R.double())).cpu().numpy()
        return ids.astype(np.int64), logprobs.astype(np.float32)

    def _harvest(self, first: int) -> list[Finished]:
        """Remove the rows from slot `first` on that have ended or reached their limit."""
        rows, slots = self.rows, self._slots
        done = slots.ended[:rows] | (slots.drawn[:rows] >= slots.limit[:rows])
        done[:first] = False
        finished = [slots.finished(int(slot)) for slot in np.flatnonzero(done)]
        self._drop(done)
        return finished

    def _drop(self, done: NDArray[np.bool_]) -> None:
        """Remove rows, and fill their slots with the last rows that stay."""
        if not done.any():
            return
        rows = len(done) - int(done.sum())
        target = np.flatnonzero(done[:rows])
        source = rows + np.flatnonzero(~done[rows:])
        self._slots.move(source, target, rows)
        self._cache.keep(rows, source=source, target=target)


def _paged_cache() -> PagedCache:
    """Import and compile what only float32 on a CPU needs."""
    from azr.rollout.local.paged import PagedCache

    return PagedCache()


def _padded(
    tickets: Sequence[Ticket], lengths: NDArray[np.int64], filler: int, *, left: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Prompts of these lengths as rows of one array, and where it holds them; the rest is the filler."""
    columns = np.arange(int(lengths.max()))
    mask = columns >= len(columns) - lengths[:, None] if left else columns < lengths[:, None]
    ids = np.full(mask.shape, filler)
    ids[mask] = np.concatenate([ticket.prompt_ids for ticket in tickets])
    return ids, mask


def _groups(tickets: Sequence[Ticket], most_padding: int) -> list[list[Ticket]]:
    """Split tickets, shortest prompt first, into groups of at most `_PREFILL_TOKENS`, with at most so much padding."""
    groups: list[list[Ticket]] = [[]]
    tokens = 0
    for ticket in tickets:
        length = len(ticket.prompt_ids)
        tokens += length
        padded = (len(groups[-1]) + 1) * length
        if groups[-1] and (padded > _PREFILL_TOKENS or padded - tokens > most_padding):
            groups.append([])
            tokens = length
        groups[-1].append(ticket)
    return groups
