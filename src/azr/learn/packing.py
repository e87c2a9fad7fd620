"""How rollouts are laid out for the learner's forward passes: shared prompts, little padding, bounded memory.

Attempts at one task have the same prompt. They can share a row: the prompt is read once, and each completion attends
to the prompt and to itself but not to the others, at the positions at which it was sampled. Log-probabilities and
gradients are those of separate rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.learn.base import TrainSample
from azr.learn.prefixes import in_order

Sharing: TypeAlias = Literal["prefixes", "prompts", "nothing"]
"""What the rollouts in one micro-batch have computed once for all of them."""


def share_prompts(samples: Sequence[TrainSample], *, most: float | None = None) -> list[list[int]]:
    """Group rollouts of one prompt into rows of indices.

    Args:
        samples: the rollouts.
        most: completion tokens in a row; a longer completion gets its own row. None: as many as the row's prompt has.
            Beyond that, the masked attention between completions costs more than reading the prompt again.
    """
    rows: list[list[int]] = []
    open_rows: dict[bytes, list[int]] = {}
    room: dict[bytes, float] = defaultdict(int)
    for i, sample in enumerate(samples):
        prompt, length = sample.prompt_ids_P.tobytes(), len(sample.completion_ids_T)
        if room[prompt] < length:
            rows.append([])
            open_rows[prompt], room[prompt] = rows[-1], len(sample.prompt_ids_P) if most is None else most
        open_rows[prompt].append(i)
        room[prompt] -= length
    return rows


def split(samples: Sequence[TrainSample], rows: Sequence[list[int]], parts: int) -> list[list[list[int]]]:
    """Divide rows among processes so that each gets about the same number of tokens; some may get no row."""
    if parts == 1:
        return [list(rows)]
    shares: list[list[list[int]]] = [[] for _ in range(parts)]
    loads = [0] * parts
    sized = [(_length([samples[i] for i in row]), number) for number, row in enumerate(rows)]
    for size, number in sorted(sized, key=lambda pair: (-pair[0], pair[1])):
        least = loads.index(min(loads))
        shares[least].append(rows[number])
        loads[least] += size
    return shares


def micro_batches(
    samples: Sequence[TrainSample], rows: Sequence[list[int]], token_budget: int
) -> list[list[list[int]]]:
    """Cut rows into micro-batches of at most `token_budget` tokens, padding included. A longer row gets its own.

    Rows of similar length go together, to keep padding low.
    """
    parts: list[list[list[int]]] = [[]]
    sized = sorted((_length([samples[i] for i in row]), number) for number, row in enumerate(rows))
    for size, number in sized:
        if parts[-1] and (len(parts[-1]) + 1) * size > token_budget:
            parts.append([])
        parts[-1].append(rows[number])
    return parts


def neighbours(samples: Sequence[TrainSample], rows: Sequence[list[int]], token_budget: int) -> list[list[list[int]]]:
    """Cut rows of one rollout each into micro-batches of at most `token_budget` tokens. A longer row gets its own.

    Rollouts that begin in the same way go together, to have most tokens in common. Each counts with all its tokens.
    """
    parts: list[list[list[int]]] = [[]]
    held = 0
    for place in in_order([samples[i] for (i,) in rows]):
        size = _length([samples[i] for i in rows[place]])
        if parts[-1] and held + size > token_budget:
            parts.append([])
            held = 0
        parts[-1].append(rows[place])
        held += size
    return parts


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows as tensors.

    Attributes:
        ids_BL: token ids, padded on the right.
        positions_BL: position ids.
        mask_B1LL: True where a token sees another. None if each row holds one completion: causal attention never sees
            the padding then, and its fast kernels accept no mask.
        rows_N: row of the state that predicts each completion token, completion after completion.
        columns_N: column of that state.
        targets_N: the token itself.
    """

    ids_BL: Tensor
    positions_BL: Tensor
    mask_B1LL: Tensor | None
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor


def lay_out(rows: Sequence[Sequence[TrainSample]]) -> Layout:
    """Lay out rows of rollouts, each row with one prompt."""
    width = max(_length(row) for row in rows)
    ids_BL = np.zeros((len(rows), width), np.int64)
    positions_BL, segments_BL = np.zeros_like(ids_BL), np.full_like(ids_BL, -1)
    columns: list[NDArray[np.int64]] = []
    for number, row in enumerate(rows):
        prompt_P, fed = row[0].prompt_ids_P, [sample.completion_ids_T[:-1] for sample in row]
        start, sizes = len(prompt_P), [len(part) for part in fed]
        ends = start + np.cumsum([0, *sizes])
        ids_BL[number] = prompt_P[0]  # padded with a token of its own: transformers would warn of a padding token
        ids_BL[number, : ends[-1]] = np.concatenate([prompt_P, *fed])
        positions_BL[number, :start] = np.arange(start)
        segments_BL[number, : ends[-1]] = np.repeat(np.arange(len(row) + 1), [start, *sizes])
        for first, size in zip(ends[:-1], sizes, strict=True):
            positions_BL[number, first : first + size] = np.arange(start, start + size)
            columns.append(np.concatenate([[start - 1], np.arange(first, first + size)]))
    rows_N = np.repeat(np.arange(len(rows)), [sum(len(sample.completion_ids_T) for sample in row) for row in rows])
    targets_N = np.concatenate([sample.completion_ids_T for row in rows for sample in row]).astype(np.int64)
    mask = _mask(torch.from_numpy(segments_BL)) if any(len(row) > 1 for row in rows) else None
    arrays = rows_N, np.concatenate(columns), targets_N
    return Layout(torch.from_numpy(ids_BL), torch.from_numpy(positions_BL), mask, *map(torch.from_numpy, arrays))


def _mask(segments_BL: Tensor) -> Tensor:
    """True where a token sees another: earlier or itself, and of the prompt (segment 0) or of its own segment."""
    query_BL1, key_B1L = segments_BL[:, :, None], segments_BL[:, None]
    length = segments_BL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool).tril()
    return (((key_B1L == 0) | (key_B1L == query_BL1)) & causal_LL)[:, None]


def _length(row: Sequence[TrainSample]) -> int:
    """Input tokens of a row; the last token of a completion predicts nothing."""
    return len(row[0].prompt_ids_P) + sum(len(sample.completion_ids_T) - 1 for sample in row)
