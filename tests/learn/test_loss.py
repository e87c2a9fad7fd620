"""The loss against numbers worked out by hand."""

import math

import pytest
import torch

from azr.learn.loss import clipped_surrogate, divergence, importance_weight, sequence_weights


def surrogate(ratio, advantage, **options):
    """Loss, whether clipping cut it, and its derivative with respect to the log-probability."""
    logprob = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    loss, cut = clipped_surrogate(logprob, zero, advantages, **{"clip_low": 0.2, "clip_high": 0.2, **options})
    (slope,) = torch.autograd.grad(loss.sum(), logprob)
    return loss.item(), cut.item(), slope.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "cut", "slope"),
    [
        # -min(r A, clip(r) A); where r A counts, d/d logp of -r A is -r A.
        (1.0, 2.0, -2.0, False, -2.0),
        (1.0, -2.0, 2.0, False, 2.0),
        (1.1, 2.0, -2.2, False, -2.2),
        (1.5, 2.0, -2.4, True, 0.0),  # far enough up already
        (1.5, -2.0, 3.0, False, 3.0),  # a bad token grew: no bound
        (0.5, 2.0, -1.0, False, -1.0),  # a good token shrank: no bound
        (0.5, -2.0, 1.6, True, 0.0),  # far enough down already
        (1.5, 0.0, 0.0, False, 0.0),
    ],
)
def test_the_surrogate_clips_the_ratio(ratio, advantage, loss, cut, slope):
    assert surrogate(ratio, advantage) == (pytest.approx(loss), cut, pytest.approx(slope))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "cut"),
    [(1.25, 1.0, -1.25, False), (1.3, 1.0, -1.28, True), (0.85, -1.0, 0.9, True), (0.95, -1.0, 0.95, False)],
)
def test_the_bounds_below_and_above_may_differ(ratio, advantage, loss, cut):
    assert surrogate(ratio, advantage, clip_low=0.1, clip_high=0.28)[:2] == (pytest.approx(loss), cut)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "cut", "slope"),
    [
        (2.9, -2.0, 5.8, False, 5.8),
        (4.0, -2.0, 6.0, True, 0.0),  # c |A| = 3 x 2
        (4.0, 2.0, -2.4, True, 0.0),  # a positive advantage knows no dual clip
        (0.5, -2.0, 1.6, True, 0.0),
    ],
)
def test_the_dual_clip_bounds_the_loss_of_a_negative_advantage(ratio, advantage, loss, cut, slope):
    assert surrogate(ratio, advantage, dual_clip=3.0) == (pytest.approx(loss), cut, pytest.approx(slope))


@pytest.mark.parametrize(
    ("estimator", "value", "slope"),
    [
        # log pi = ln 0.5, log other = ln 0.25, d = -ln 2. Slopes are with respect to log pi: 1, -d, 1 - e^d.
        ("k1", math.log(2), 1.0),
        ("k2", math.log(2) ** 2 / 2, math.log(2)),
        ("k3", 0.5 - 1 + math.log(2), 0.5),
    ],
)
def test_the_divergence_estimators(estimator, value, slope):
    logprob = torch.tensor([math.log(0.5)], dtype=torch.float64, requires_grad=True)
    estimate = divergence(logprob, torch.tensor([math.log(0.25)], dtype=torch.float64), estimator)
    (gradient,) = torch.autograd.grad(estimate.sum(), logprob)
    assert (estimate.item(), gradient.item()) == (pytest.approx(value), pytest.approx(slope))


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_unbiased_estimators_average_to_the_divergence(estimator):
    pi, other = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    expected = (pi * (pi / other).log()).sum()
    assert (pi * divergence(pi.log(), other.log(), estimator)).sum() == pytest.approx(expected.item())


def test_the_gradient_of_k2_averages_to_that_of_the_divergence():
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    pi, other = logits.log_softmax(0), torch.tensor([0.2, 0.2, 0.6]).double().log()
    (expected,) = torch.autograd.grad((pi.exp() * (pi - other)).sum(), logits, retain_graph=True)
    (average,) = torch.autograd.grad((pi.exp().detach() * divergence(pi, other, "k2")).sum(), logits)
    torch.testing.assert_close(average, expected)


def test_importance_weights_are_truncated_and_carry_no_gradient():
    old = torch.tensor([0.5, 0.5, 0.2]).log().requires_grad_()
    weight = importance_weight(old, torch.tensor([0.5, 0.1, 0.4]).log(), 2.0)
    assert weight.tolist() == pytest.approx([1.0, 2.0, 0.5])
    assert not weight.requires_grad


@pytest.mark.parametrize(
    ("aggregation", "weights"),
    [
        ("token_mean", [1 / 6, 1 / 6, 1 / 6]),
        ("sequence_mean", [1 / 3, 1 / 6, 1 / 9]),
        ("constant", [1 / 30, 1 / 30, 1 / 30]),
    ],
)
def test_aggregation(aggregation, weights):
    assert sequence_weights([1, 2, 3], aggregation, 10) == pytest.approx(weights)


def test_constant_aggregation_needs_a_length():
    with pytest.raises(ValueError, match="constant_length"):
        sequence_weights([1], "constant")
