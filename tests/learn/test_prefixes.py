"""Rollouts as paths through their distinct tokens: nothing computed twice, nothing lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from azr.learn.base import TrainSample
from azr.learn.packing import neighbours
from azr.learn.prefixes import lay_out_paths, read


def rollout(prompt, completion):
    length = len(completion)
    return TrainSample(np.int32(prompt), np.int32(completion), np.full(length, -1, np.float32), np.ones(length))


few = st.integers(1, 3)  # few tokens, so that rollouts often begin in the same way
rollouts = st.lists(
    st.builds(rollout, st.lists(few, min_size=1, max_size=6), st.lists(few, min_size=1, max_size=9)),
    min_size=1,
    max_size=12,
)


def prefixes(samples):
    return [tuple(read(sample)[: end + 1]) for sample in samples for end in range(len(read(sample)))]


@given(rollouts)
def test_a_token_is_computed_once_for_all_rollouts_that_begin_in_the_same_way(samples):
    assert len(lay_out_paths(samples).ids_F) == len(set(prefixes(samples)))


@given(rollouts)
def test_every_token_finds_on_its_branch_what_came_before_it(samples):
    paths = lay_out_paths(samples)
    tree, branch, seen = paths.tree, [], set()
    for start, end, before in zip(tree.starts, tree.starts[1:], tree.before_S, strict=False):
        assert before <= len(branch)
        branch = branch[:before]
        for token in paths.ids_F[start:end].tolist():
            branch.append(token)
            seen.add(tuple(branch))
    assert seen == set(prefixes(samples))
    assert tree.starts[-1] == len(paths.ids_F)
    assert tree.longest == max(map(len, seen))


@given(rollouts)
def test_completion_tokens_are_predicted_by_the_token_before_them(samples):
    paths = lay_out_paths(samples)
    read_by = paths.ids_F[paths.predicting_U][paths.states_N].tolist()
    assert read_by == [t for s in samples for t in read(s)[len(s.prompt_ids_P) - 1 :].tolist()]
    assert paths.targets_N.tolist() == [t for s in samples for t in s.completion_ids_T.tolist()]


def test_two_attempts_that_begin_in_the_same_way_by_hand():
    paths = lay_out_paths([rollout((1, 2), (7, 8, 9)), rollout((5,), (6,)), rollout((1, 2), (7, 4, 3))])
    assert paths.ids_F.tolist() == [1, 2, 7, 4, 8, 5]  # in the order of the texts: 1 2 7 4, 1 2 7 8, 5
    assert paths.tree.starts.tolist() == [0, 4, 5, 6]
    assert paths.tree.before_S.tolist() == [0, 3, 0]
    assert paths.tree.longest == 4
    assert paths.predicting_U.tolist() == [1, 2, 3, 4, 5]
    assert paths.states_N.tolist() == [0, 1, 3, 4, 0, 1, 2]
    assert paths.targets_N.tolist() == [7, 8, 9, 6, 7, 4, 3]


@given(rollouts, st.integers(1, 40))
def test_micro_batches_of_neighbours_keep_to_their_budget_and_leave_nobody_out(samples, budget):
    parts = neighbours(samples, [[i] for i in range(len(samples))], budget)
    assert sorted(i for part in parts for (i,) in part) == list(range(len(samples)))
    assert all(len(part) == 1 or sum(len(read(samples[i])) for (i,) in part) <= budget for part in parts)
