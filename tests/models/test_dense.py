"""Linear layers for few rows equal torch's, whatever their sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from azr.models.dense import Dense


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 40),
    st.integers(1, 70),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.booleans(),
)
def test_joined_layers_equal_torchs(rows: int, inputs: int, outputs: list[int], biased: bool) -> None:
    random = torch.Generator().manual_seed(rows)
    weights = [torch.randn(count, inputs, generator=random) for count in outputs]
    biases = [torch.randn(count, generator=random) if biased else None for count in outputs]
    x = torch.randn(rows, inputs, generator=random)
    expected = torch.cat([functional.linear(x, w, b) for w, b in zip(weights, biases, strict=True)], dim=1)
    torch.testing.assert_close(Dense(weights, biases)(x), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [8, 9, 15, 16, 17])
def test_other_rows_change_no_bit_of_a_row(rows: int) -> None:
    random = torch.Generator().manual_seed(0)
    dense, x = Dense([torch.randn(48, 100, generator=random)], [None]), torch.randn(20, 100, generator=random)
    assert torch.equal(dense(x[:rows]), dense(x)[:rows])
