"""What an update counts as it goes."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from azr.learn.tally import Tally
from tests.learners import learner, train_samples


class NoDoubles(TorchFunctionMode):
    """A device without float64, such as Apple's MPS: only what was copied to the host may be made double."""

    def __init__(self) -> None:
        super().__init__()
        self.hosted: list[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.Tensor.cpu:
            self.hosted.append(result)
        if function is torch.Tensor.double:
            assert any(args[0] is tensor for tensor in self.hosted), "float64 on the device"
        return result


def test_means_are_over_all_that_was_added():
    tally, other = Tally(), Tally()
    tally.add("kl", torch.tensor([1.0, 2.0]))
    other.add("kl", torch.tensor([6.0]))
    tally.take(other)
    assert tally.means() == {"kl": pytest.approx(3.0)}


def test_a_device_without_float64_can_learn(policy):
    rollouts = train_samples(policy)
    with NoDoubles():
        assert learner(policy).update(rollouts)["entropy"] > 0
