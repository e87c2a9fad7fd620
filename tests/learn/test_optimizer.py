"""Learning rates by hand, and steps that rounding does not swallow."""

import pytest
import torch

from azr.config import LearnerConfig
from azr.learn.optimizer import Optimizer, learning_rate


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]),
        ("inverse_sqrt", [0.5, 1.0, 1.0, 1.0, 0.894427, 0.816497, 0.755929]),  # square roots of 4/5, 4/6, 4/7
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0]),
    ],
)
def test_schedules_after_two_steps_of_warm_up(schedule, rates):
    config = LearnerConfig(lr=1.0, warmup_steps=2, hold_steps=4, schedule=schedule)
    assert [learning_rate(config, update, 6) for update in range(7)] == pytest.approx(rates, abs=1e-6)


def test_no_schedule_jumps_where_a_warm_up_ends_that_is_longer_than_what_is_held():
    config = LearnerConfig(lr=1.0, warmup_steps=4, hold_steps=1, schedule="inverse_sqrt")
    rates = [learning_rate(config, update, 9) for update in range(6)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.894427, 0.816497], abs=1e-6)  # square roots of 4/5, 4/6


def test_steps_below_the_resolution_of_bfloat16_add_up():
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = Optimizer([weight], LearnerConfig(lr=1e-4))
    for _ in range(100):  # each step is 1e-4; bfloat16 numbers below 1 are 4e-3 apart
        weight.grad = torch.ones_like(weight)
        optimizer.collect()
        optimizer.step(1e-4)
    assert weight.tolist() == pytest.approx([0.99] * 4, abs=2e-3)


def test_the_gradient_is_clipped_to_its_norm():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert Optimizer([weight], LearnerConfig(grad_clip=1.0)).clip() == pytest.approx(5.0)
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)


def test_master_weights_are_part_of_the_state():
    weights = [torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)) for _ in range(2)]
    first, second = (Optimizer([weight], LearnerConfig(lr=1e-4)) for weight in weights)
    weights[0].grad = torch.ones_like(weights[0])
    first.collect()
    first.step(1e-4)
    second.restore(first.state())
    assert second.state()["masters"][0].tolist() == first.state()["masters"][0].tolist() != [1.0] * 3
