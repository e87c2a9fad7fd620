"""Rollouts laid out so that a token is computed once for all rollouts that begin in the same way up to it.

Attempts at one task have its prompt in common, and often the beginning of their answers. What a decoder computes for a
token depends only on the tokens before it, so one computation serves them all; its gradients add up. Only the
attention works on whole rollouts, in groups of about the same length. Everything else has no padding at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.learn.base import TrainSample

MOST_PADDING = 0.1
"""Largest share of padding in a group of rollouts that attend together."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Rollouts as paths through their distinct tokens. Two tokens are the same if all tokens before them are, too.

    Attributes:
        ids_F: ids of the distinct tokens.
        positions_F: their positions.
        slots_M: the token in each slot of the attention: the groups one after the other, row by row, each row a
            rollout and padded on the right.
        groups: rows and columns of each group.
        slot_F: a slot of each token.
        predicting_U: the tokens that predict a completion token.
        states_N: which of those predicts each completion token, completion after completion.
        targets_N: the completion tokens.
        padding: number of slots that hold no token of their row.
    """

    ids_F: Tensor
    positions_F: Tensor
    slots_M: Tensor
    groups: list[tuple[int, int]]
    slot_F: Tensor
    predicting_U: Tensor
    states_N: Tensor
    targets_N: Tensor
    padding: int


def in_order(samples: Sequence[TrainSample]) -> list[int]:
    """Indices of rollouts, such that those that begin in the same way are neighbours."""
    keys = [read(sample).tobytes() for sample in samples]
    return sorted(range(len(samples)), key=keys.__getitem__)


def lay_out_paths(samples: Sequence[TrainSample]) -> Paths:
    """Lay out rollouts; their completion tokens stay in the order of the rollouts."""
    nothing = np.zeros(0, np.int64)
    paths: list[NDArray[np.int64]] = [nothing] * len(samples)
    ids: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    attending: list[NDArray[np.int64]] = []
    count, before, path = 0, nothing, nothing
    for i in in_order(samples):
        tokens = read(samples[i])
        shared = _common(before, tokens)
        ids.append(tokens[shared:])
        positions.append(np.arange(shared, len(tokens)))
        if len(before) > shared:  # else the rollout before is a prefix of this one, which attends for both
            attending.append(path)
        path = np.concatenate([path[:shared], np.arange(count, count + len(tokens) - shared)])
        paths[i], before, count = path, tokens, count + len(tokens) - shared
    attending.append(path)
    slots, groups = _grouped(attending)
    slot_F = np.empty(count, np.int64)
    filled = slots >= 0
    slot_F[slots[filled]] = np.flatnonzero(filled)
    last = [path[len(sample.prompt_ids_P) - 1 :] for path, sample in zip(paths, samples, strict=True)]
    predicting, states = np.unique(np.concatenate(last), return_inverse=True)
    targets = np.concatenate([sample.completion_ids_T for sample in samples]).astype(np.int64)
    return Paths(
        ids_F=torch.from_numpy(np.concatenate(ids)),
        positions_F=torch.from_numpy(np.concatenate(positions)),
        slots_M=torch.from_numpy(np.maximum(slots, 0)),
        groups=groups,
        slot_F=torch.from_numpy(slot_F),
        predicting_U=torch.from_numpy(predicting),
        states_N=torch.from_numpy(states),
        targets_N=torch.from_numpy(targets),
        padding=len(slots) - int(filled.sum()),
    )


def read(sample: TrainSample) -> NDArray[np.int64]:
    """The tokens of a rollout that a model reads; the last one of a completion predicts nothing."""
    return np.concatenate([sample.prompt_ids_P, sample.completion_ids_T[:-1]]).astype(np.int64)


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Number of tokens that two sequences have in common at their beginning."""
    shorter = min(len(one), len(other))
    differ = one[:shorter] != other[:shorter]
    return int(differ.argmax()) if differ.any() else shorter


def _grouped(paths: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """The slots of paths, -1 for padding, and the rows and columns of each group; the longest paths come first."""
    groups: list[list[NDArray[np.int64]]] = []
    held = 0
    for path in sorted(paths, key=len, reverse=True):
        if not groups or held + len(path) < (1 - MOST_PADDING) * (len(groups[-1]) + 1) * len(groups[-1][0]):
            groups.append([])
            held = 0
        groups[-1].append(path)
        held += len(path)
    parts = [np.full((len(group), len(group[0])), -1, np.int64) for group in groups]
    for part, group in zip(parts, groups, strict=True):
        for row, path in zip(part, group, strict=True):
            row[: len(path)] = path
    return np.concatenate([part.reshape(-1) for part in parts]), [part.shape for part in parts]
