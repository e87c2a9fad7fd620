"""Rows and micro-batches: nobody left out, nothing over budget, a layout worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.learn.base import TrainSample
from azr.learn.packing import lay_out, micro_batches, share_prompts


def rollout(prompt, length, first=100):
    ids = tuple(range(first, first + length))
    return TrainSample(np.int32(prompt), np.int32(ids), np.full(length, -1, np.float32), np.ones(length))


rollouts = st.lists(st.builds(rollout, st.sampled_from([(1,), (1, 2), (3,) * 20]), st.integers(1, 30)), max_size=30)


def fed(samples, row):
    return len(samples[row[0]].prompt_ids_P) + sum(len(samples[i].completion_ids_T) - 1 for i in row)


@given(rollouts)
def test_every_rollout_is_in_one_row_with_others_of_its_prompt_only(samples):
    rows = share_prompts(samples)
    assert sorted(i for row in rows for i in row) == list(range(len(samples)))
    assert all(len({samples[i].prompt_ids_P.tobytes() for i in row}) == 1 for row in rows)


@given(rollouts)
def test_completions_that_share_a_row_are_together_no_longer_than_their_prompt(samples):
    for row in share_prompts(samples):
        total = sum(len(samples[i].completion_ids_T) for i in row)
        assert len(row) == 1 or total <= len(samples[row[0]].prompt_ids_P)


@given(rollouts, st.integers(1, 40))
def test_rows_keep_to_a_number_of_completion_tokens(samples, most):
    rows = share_prompts(samples, most=most)
    assert sorted(i for row in rows for i in row) == list(range(len(samples)))
    assert all(len(row) == 1 or sum(len(samples[i].completion_ids_T) for i in row) <= most for row in rows)


@given(rollouts.filter(bool), st.integers(1, 200))
def test_micro_batches_keep_to_their_budget_and_leave_nobody_out(samples, budget):
    rows = share_prompts(samples)
    parts = micro_batches(samples, rows, budget)
    assert sorted(row for part in parts for row in part) == sorted(rows)
    for part in parts:
        assert len(part) == 1 or len(part) * max(fed(samples, row) for row in part) <= budget


def test_two_completions_behind_one_prompt_by_hand():
    layout = lay_out([[rollout((1, 2), 3, first=10), rollout((1, 2), 2, first=20)], [rollout((5,), 1, first=30)]])
    assert layout.ids_BL.tolist() == [[1, 2, 10, 11, 20], [5, 5, 5, 5, 5]]
    assert layout.positions_BL.tolist() == [[0, 1, 2, 3, 2], [0, 0, 0, 0, 0]]
    assert layout.targets_N.tolist() == [10, 11, 12, 20, 21, 30]
    assert layout.rows_N.tolist() == [0, 0, 0, 0, 0, 1]
    assert layout.columns_N.tolist() == [1, 2, 3, 1, 4, 0]
    assert layout.mask_B1LL[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # the second completion sees the prompt and itself, not the first
    ]


@pytest.mark.parametrize("length", [1, 4])
def test_rows_of_one_completion_need_no_mask(length):
    assert lay_out([[rollout((1, 2), length)], [rollout((3,), 2)]]).mask_B1LL is None
