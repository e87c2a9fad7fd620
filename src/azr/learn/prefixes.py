"""Rollouts laid out so that a token is computed once for all rollouts that begin in the same way up to it.

Attempts at one task have its prompt in common, and often the beginning of their answers. What a decoder computes for a
token depends only on the tokens before it, so one computation serves them all; its gradients add up. So tokens form a
tree, and nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr.learn.base import TrainSample


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens as branches, one behind the other. Each leaves the one before it after the tokens that both share.

    Attributes:
        starts: the first token of each branch's own, and after the last branch the number of all tokens, [S + 1].
        before_S: how many tokens the branch shares with the one before it: those from the root.
        longest: the most tokens from the root to the end of a branch.
    """

    starts: NDArray[np.int64]
    before_S: NDArray[np.int64]
    longest: int


@dataclass(frozen=True, slots=True)
class Paths:
    """Rollouts as paths through their distinct tokens. Two tokens are the same if all tokens before them are, too.

    Attributes:
        ids_F: ids of the distinct tokens, branch after branch.
        tree: the branches.
        predicting_U: the tokens that predict a completion token.
        states_N: which of those predicts each completion token, completion after completion.
        targets_N: the completion tokens.
    """

    ids_F: Tensor
    tree: Tree
    predicting_U: Tensor
    states_N: Tensor
    targets_N: Tensor


def in_order(samples: Sequence[TrainSample]) -> list[int]:
    """Indices of rollouts, such that those that begin in the same way are neighbours."""
    keys = [read(sample).tobytes() for sample in samples]
    return sorted(range(len(samples)), key=keys.__getitem__)


def lay_out_paths(samples: Sequence[TrainSample]) -> Paths:
    """Lay out rollouts; their completion tokens stay in the order of the rollouts."""
    tokens = path = np.zeros(0, np.int64)
    paths: list[NDArray[np.int64]] = [path] * len(samples)
    ids: list[NDArray[np.int64]] = []
    before: list[int] = []
    count = longest = 0
    for i in in_order(samples):
        last, tokens = tokens, read(samples[i])
        shared = _common(last, tokens)
        own = len(tokens) - shared
        paths[i] = path = np.concatenate([path[:shared], np.arange(count, count + own)])
        if own:
            ids.append(tokens[shared:])
            before.append(shared)
        count, longest = count + own, max(longest, len(tokens))
    predictors = [path[len(sample.prompt_ids_P) - 1 :] for path, sample in zip(paths, samples, strict=True)]
    predicting, states = np.unique(np.concatenate(predictors), return_inverse=True)
    targets = np.concatenate([sample.completion_ids_T for sample in samples]).astype(np.int64)
    return Paths(
        ids_F=torch.from_numpy(np.concatenate(ids)),
        tree=Tree(np.cumsum([0, *map(len, ids)]), np.array(before), longest),
        predicting_U=torch.from_numpy(predicting),
        states_N=torch.from_numpy(states),
        targets_N=torch.from_numpy(targets),
    )


def read(sample: TrainSample) -> NDArray[np.int64]:
    """The tokens of a rollout that a model reads; the last one of a completion predicts nothing."""
    return np.concatenate([sample.prompt_ids_P, sample.completion_ids_T[:-1]]).astype(np.int64)


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Number of tokens that two sequences have in common at their beginning."""
    shorter = min(len(one), len(other))
    differ = one[:shorter] != other[:shorter]
    return int(differ.argmax()) if differ.any() else shorter
