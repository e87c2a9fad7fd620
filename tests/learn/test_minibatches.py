"""How an update's rollouts are divided among optimizer steps and among ranks."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from azr.config import LearnerConfig
from azr.learn.base import TrainSample
from azr.learn.budget import TokenBudget
from azr.learn.minibatches import minibatches
from azr.learn.ranks import Ranks


def rollouts(groups, length=3):
    """As many rollouts of each prompt as a number says, one prompt after the other."""
    whole = np.zeros(length)
    return [
        TrainSample(np.int32([prompt, 1, 2]), np.int32([i] * length), np.float32(whole), whole)
        for prompt, count in enumerate(groups)
        for i in range(count)
    ]


def prompt(sample):
    return int(sample.prompt_ids_P[0])


groups = st.lists(st.integers(1, 8), min_size=1, max_size=12)


def test_minibatches_visit_every_rollout_once_an_epoch_in_an_order_that_the_seed_gives():
    config, samples = LearnerConfig(epochs=2, minibatches=4), rollouts([3, 1, 3, 2])
    orders = minibatches(samples, config, seed=0, update=0)
    assert len(orders) == 8
    for epoch in (orders[:4], orders[4:]):
        assert sorted(i for part in epoch for i in part) == list(range(9))
    assert orders[:4] != orders[4:]
    assert minibatches(samples, config, seed=0, update=0) == orders
    assert minibatches(samples, config, seed=0, update=1) != orders
    assert minibatches(samples, config, seed=1, update=0) != orders


@given(groups, st.integers(1, 5), st.integers(0, 1000))
def test_minibatches_are_equally_large_and_divide_a_prompt_only_at_their_borders(groups, parts, update):
    samples = rollouts(groups)
    found = minibatches(samples, LearnerConfig(minibatches=parts), seed=0, update=update)
    sizes = list(map(len, found))
    assert max(sizes) - min(sizes) <= 1
    prompts = Counter(p for part in found for p in {prompt(samples[i]) for i in part})
    assert sum(prompts.values()) - len(groups) <= len(found)  # one border for each, that of the last with the first too


def test_a_rollout_is_equally_likely_to_be_in_every_minibatch_whatever_the_size_of_its_group():
    samples = rollouts([8, 1])
    found = Counter(
        next(number for number, part in enumerate(parts) if 8 in part)
        for parts in (minibatches(samples, LearnerConfig(minibatches=3), seed=0, update=u) for u in range(900))
    )
    assert all(250 <= found[number] <= 350 for number in range(3))  # 300 expected, standard deviation 14


class Rank(Ranks):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def shares(samples, size):
    """The rollouts of each rank, for a model that computes equal beginnings once."""
    budgets = [TokenBudget(1000, sharing="prefixes", ranks=Rank(rank, size)) for rank in range(size)]
    return [[i for part in budget.cut(samples) for (i,) in part] for budget in budgets]


def test_rollouts_of_one_prompt_go_to_one_rank():
    samples = rollouts([4] * 6)
    one, other = ({prompt(samples[i]) for i in share} for share in shares(samples, 2))
    assert len(one) == len(other) == 3
    assert not one & other


def test_a_prompt_with_many_rollouts_is_divided_among_ranks():
    samples = rollouts([16])
    assert sorted(i for share in shares(samples, 2) for i in share) == list(range(16))
    assert [len(share) for share in shares(samples, 2)] == [8, 8]
