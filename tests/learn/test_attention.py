"""Attention over a tree of tokens equals attention over each token's branch, and so do its gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from azr.learn.attention import attend
from azr.learn.base import TrainSample
from azr.learn.kernel import _QUERIES
from azr.learn.prefixes import lay_out_paths

POSITIONS = 400


def tables(width):
    """Cosines and sines of rotary positions, the sines' first half negated."""
    angles = torch.arange(POSITIONS)[:, None] / 100 ** (torch.arange(width // 2) / max(1, width // 2))
    return angles.cos().repeat(1, 2), torch.cat((-angles.sin(), angles.sin()), dim=1)


def tree_of(texts):
    texts = [np.array([*text, 0], np.int32) for text in texts]  # the last token predicts nothing
    ones = np.ones(1)
    samples = [TrainSample(text[:-1], text[-1:], ones.astype(np.float32), ones) for text in texts]
    return lay_out_paths(samples).tree


def branches(tree):
    """Of every token those from the root to itself."""
    path, found = [], []
    for start, end, before in zip(tree.starts, tree.starts[1:], tree.before_S, strict=False):
        path = path[:before]
        for token in range(start, end):
            path = [*path, token]
            found.append(path)
    return found


def plainly(q_FHD, k_FKD, v_FKD, tree, scale):
    """The same in plain operations, token after token."""
    cos, sin = tables(q_FHD.shape[2])
    half, group = q_FHD.shape[2] // 2, q_FHD.shape[1] // k_FKD.shape[1]
    said = []
    for path in branches(tree):
        positions = torch.arange(len(path))[:, None]

        def turned(x, positions=positions):
            return x * cos[positions] + torch.cat((x[..., half:], x[..., :half]), dim=-1) * sin[positions]

        keys, values = turned(k_FKD[path]), v_FKD[path]
        query = turned(q_FHD[path])[-1]
        scores_HC = torch.einsum("hd,chd->hc", query, keys.repeat_interleave(group, dim=1)) * scale
        said.append(torch.einsum("hc,chd->hd", scores_HC.softmax(dim=-1), values.repeat_interleave(group, dim=1)))
    return torch.stack(said)


def results(texts, heads, key_heads, width, *, ours, seed=0):
    """What is said, and the gradients of queries, keys and values."""
    tree, random = tree_of(texts), torch.Generator().manual_seed(seed)
    shapes = [(tree.starts[-1], count, width) for count in (heads, key_heads, key_heads, heads)]
    *inputs, weights = (torch.randn(shape, generator=random) for shape in shapes)
    for one in inputs:
        one.requires_grad_()
    said = attend(*inputs, tree, tables(width), scale=0.3) if ours else plainly(*inputs, tree, 0.3)
    return [said, *torch.autograd.grad((said * weights).sum(), inputs)]


few = st.lists(st.integers(1, 2), min_size=1, max_size=25)  # few tokens, so that texts often begin in the same way
shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20))


@settings(max_examples=40, deadline=None)
@given(st.lists(few, min_size=1, max_size=5), shapes)
def test_it_equals_plain_attention_and_so_do_its_gradients(texts, shape):
    key_heads, group, half = shape
    ours, plain = (results(texts, key_heads * group, key_heads, 2 * half, ours=ours) for ours in (True, False))
    torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("length", [_QUERIES - 1, _QUERIES, _QUERIES + 1, 2 * _QUERIES + 5])
def test_it_equals_plain_attention_on_branches_longer_than_a_group_of_queries(length):
    stem = list(range(20))
    texts = [[*stem, *range(100, 100 + length)], [*stem, 1, *range(length)], [*stem, 1, 2, 3]]
    ours, plain = (results(texts, 2, 1, 8, ours=ours) for ours in (True, False))
    torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-4)


def test_scores_far_below_the_highest_get_no_weight_and_next_to_no_gradient():
    tree = tree_of([[1, 2]])
    queries = torch.tensor([[[0.0, 0.0]], [[100.0, 0.0]]], requires_grad=True)
    keys = torch.tensor([[[-100.0, 0.0]], [[100.0, 0.0]]], requires_grad=True)
    values = torch.tensor([[[5.0, 5.0]], [[7.0, 7.0]]], requires_grad=True)
    unturned = torch.ones(2, 2), torch.zeros(2, 2)
    said = attend(queries, keys, values, tree, unturned, scale=1.0)
    said.sum().backward()
    assert said.tolist() == [[[5.0, 5.0]], [[7.0, 7.0]]]
    assert values.grad.tolist() == [[[1.0, 1.0]], [[1.0, 1.0]]]
    assert max(queries.grad.abs().max(), keys.grad.abs().max()) < 1e-30


def test_the_number_of_threads_changes_no_bit():
    texts, before = [[1, 2, 3, 4], [1, 2, 5], [6]], torch.get_num_threads()
    one = results(texts, 6, 3, 16, ours=True)
    torch.set_num_threads(3)
    try:
        three = results(texts, 6, 3, 16, ours=True)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_a_gradient_that_is_not_contiguous_in_memory_is_read_as_it_is():
    tree = tree_of([[1, 2, 3]])
    inputs = [torch.randn(3, 2, 4, requires_grad=True) for _ in range(3)]
    weights = torch.randn(2, 3, 4)
    found = [
        torch.autograd.grad((attend(*inputs, tree, tables(4), scale=0.5) * part).sum(), inputs)
        for part in (weights.transpose(0, 1), weights.transpose(0, 1).contiguous())
    ]
    torch.testing.assert_close(*found)
