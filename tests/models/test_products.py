"""The products of linear layers, and their gradients, are those of PyTorch's own function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from azr.models import products

needs_onednn = pytest.mark.skipif(not products.AVAILABLE, reason="needs a processor with 512-bit vectors")


def layer(rows: int, inputs: int, outputs: int, *, biased: bool) -> list[Tensor | None]:
    """Rows, weight and bias, all of which want a gradient."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, inputs), (outputs, inputs), (outputs,)]
    parts: list[Tensor | None] = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    return parts if biased else [*parts[:2], None]


def with_gradients(function, parts: list[Tensor | None]) -> list[Tensor]:
    """The output, and the gradients of a loss that weights each of its numbers differently."""
    output = function(*parts)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), [part for part in parts if part is not None])]


@needs_onednn
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 200), st.integers(1, 200), st.booleans())
def test_a_product_by_onednn_equals_that_of_pytorch(rows: int, inputs: int, outputs: int, biased: bool) -> None:
    parts = layer(rows, inputs, outputs, biased=biased)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "LEAST", 0)
        ours = with_gradients(products.product, parts)
    torch.testing.assert_close(ours, with_gradients(functional.linear, parts), atol=1e-3, rtol=1e-4)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each product that oneDNN computes."""
    made: list[int] = []
    onednn = products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *parts: (made.append(1), onednn(*parts))[1])
    return made


@needs_onednn
@pytest.mark.parametrize(("rows", "by_onednn"), [(1023, False), (1024, True)])
def test_small_products_are_left_to_pytorch(rows: int, by_onednn: bool, calls: list[int]) -> None:
    products.product(torch.ones(rows, 128), torch.ones(128, 128))
    assert bool(calls) == by_onednn


@needs_onednn
@pytest.mark.parametrize("learns", ["rows", "weight"])
def test_what_does_not_learn_gets_no_gradient_and_costs_no_product(learns: str, calls: list[int]) -> None:
    rows, weight = torch.ones(1024, 128), torch.ones(128, 128)
    (rows if learns == "rows" else weight).requires_grad_()
    products.product(rows, weight).sum().backward()
    assert (rows.grad is None) == (learns == "weight")
    assert (weight.grad is None) == (learns == "rows")
    assert len(calls) == 2


@needs_onednn
def test_other_precisions_are_left_to_pytorch(calls: list[int]) -> None:
    rows, weight = torch.ones(1024, 128, dtype=torch.bfloat16), torch.ones(128, 128, dtype=torch.bfloat16)
    assert products.product(rows, weight).dtype == torch.bfloat16
    assert not calls
