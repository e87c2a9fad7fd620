"""Rollouts as paths through their distinct tokens: nothing computed twice, nothing lost, little padding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from azr.learn.base import TrainSample
from azr.learn.packing import neighbours
from azr.learn.prefixes import MOST_PADDING, lay_out_paths, read


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


def rows(paths):
    """The tokens in each row of the attention, without padding."""
    first, found = 0, []
    for count, columns in paths.groups:
        part = paths.slots_M[first : first + count * columns].view(count, columns)
        found += [row.tolist() for row in part]
        first += count * columns
    return found


@given(rollouts)
def test_every_token_finds_in_its_row_what_came_before_it(samples):
    paths, seen = lay_out_paths(samples), set()
    begin = np.cumsum([0, *(rows * columns for rows, columns in paths.groups)])
    for token, slot in enumerate(paths.slot_F.tolist()):
        group = int(np.searchsorted(begin, slot, side="right")) - 1
        columns = paths.groups[group][1]
        first = slot - (slot - int(begin[group])) % columns
        before = paths.slots_M[first : slot + 1]
        assert before[-1] == token
        assert paths.positions_F[before].tolist() == list(range(len(before)))
        seen.add(tuple(paths.ids_F[before].tolist()))
    assert seen == set(prefixes(samples))


@given(rollouts)
def test_completion_tokens_are_predicted_by_the_token_before_them(samples):
    paths = lay_out_paths(samples)
    read_by = paths.ids_F[paths.predicting_U][paths.states_N].tolist()
    assert read_by == [t for s in samples for t in read(s)[len(s.prompt_ids_P) - 1 :].tolist()]
    assert paths.targets_N.tolist() == [t for s in samples for t in s.completion_ids_T.tolist()]


@given(rollouts)
def test_padding_is_at_most_a_tenth(samples):
    paths = lay_out_paths(samples)
    assert paths.padding == len(paths.slots_M) - sum(
        map(len, {tuple(row): row for row in distinct_rows(paths)}.values())
    )
    assert paths.padding <= MOST_PADDING * len(paths.slots_M)


def distinct_rows(paths):
    """Rows cut where their positions no longer count up, which is where padding begins."""
    for row in rows(paths):
        positions = paths.positions_F[row].tolist()
        end = next((i for i, position in enumerate(positions) if position != i), len(row))
        yield row[:end]


def test_two_attempts_that_begin_in_the_same_way_by_hand():
    paths = lay_out_paths([rollout((1, 2), (7, 8, 9)), rollout((5,), (6,)), rollout((1, 2), (7, 4, 3))])
    assert paths.ids_F.tolist() == [1, 2, 7, 4, 8, 5]  # in the order of the texts: 1 2 7 4, 1 2 7 8, 5
    assert paths.positions_F.tolist() == [0, 1, 2, 3, 3, 0]
    assert paths.groups == [(2, 4), (1, 1)]
    assert paths.slots_M.tolist() == [0, 1, 2, 3, 0, 1, 2, 4, 5]
    assert paths.predicting_U.tolist() == [1, 2, 3, 4, 5]
    assert paths.states_N.tolist() == [0, 1, 3, 4, 0, 1, 2]
    assert paths.targets_N.tolist() == [7, 8, 9, 6, 7, 4, 3]
    assert paths.padding == 0


@given(rollouts, st.integers(1, 40))
def test_micro_batches_of_neighbours_keep_to_their_budget_and_leave_nobody_out(samples, budget):
    parts = neighbours(samples, [[i] for i in range(len(samples))], budget)
    assert sorted(i for part in parts for (i,) in part) == list(range(len(samples)))
    assert all(len(part) == 1 or sum(len(read(samples[i])) for (i,) in part) <= budget for part in parts)
