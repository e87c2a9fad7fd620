"""A learner that is asked to stop: what it abandons, what it finishes, and that nothing is left of what it abandons."""

import asyncio

import pytest
import torch

from azr.config import AlgorithmConfig
from azr.learn.base import UpdateStopped
from tests.learners import learner, train_samples


def after(calls):
    """Asks to stop from that call on."""
    left = iter(range(calls - 1))
    return lambda: next(left, None) is None


def state_of(taught, policy):
    moments = [part["exp_avg"].clone() for part in taught._optimizer.state()["adam"]["state"].values()]
    return [*(tensor.clone() for tensor in policy.model.state_dict().values()), *moments]


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("cap", [None, 2.0])  # which reads the learner's own log-probabilities before
def test_an_update_that_is_asked_to_stop_leaves_everything_as_it_was(load, calls, cap):
    options = {"token_budget": 70, "algorithm": AlgorithmConfig(importance_cap=cap), "epochs": 2}
    policy, other = load("qwen2"), load("qwen2")
    rollouts, taught, untold = train_samples(policy), learner(policy, **options), learner(other, **options)
    assert taught.update(rollouts) == untold.update(rollouts)
    before = state_of(taught, policy)
    with pytest.raises(UpdateStopped):
        taught.update(rollouts, stopping=after(calls))
    assert all(map(torch.equal, state_of(taught, policy), before))
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert not policy.model.training
    assert taught.update(rollouts) == untold.update(rollouts)


def test_an_update_is_abandoned_even_after_its_last_micro_batch(policy):
    taught = learner(policy)  # one micro-batch: it asks before and after
    with pytest.raises(UpdateStopped):
        taught.update(train_samples(policy), stopping=after(2))
    assert taught.updates == 0


def test_an_update_that_has_moved_weights_is_finished(load):
    rollouts = train_samples(load("qwen2"))
    told, untold = (learner(load("qwen2"), minibatches=3) for _ in range(2))
    assert told.update(rollouts, stopping=after(3)) == untold.update(rollouts)


def test_a_cancelled_update_ends_even_where_weights_have_moved(policy):
    taught, rollouts = learner(policy, minibatches=3, epochs=1000), train_samples(policy)

    async def cancel():
        update = asyncio.ensure_future(super(type(taught), taught).update(rollouts))
        await asyncio.wait([update], timeout=0.5)
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        await taught._background.run(lambda check: None)  # once the thread is free

    asyncio.run(cancel())
    assert taught.updates == 0


def test_the_event_loop_runs_on_while_the_learner_learns(policy):
    taught, rollouts, turns = learner(policy, token_budget=1), train_samples(policy), []

    async def count_turns():
        update = asyncio.ensure_future(super(type(taught), taught).update(rollouts))
        while not update.done():
            turns.append(taught.updates)
            await asyncio.sleep(0.001)

    asyncio.run(count_turns())
    assert turns.count(0) > 3


def test_weights_are_the_models_own_not_copies(policy):
    taught = learner(policy)
    weights = taught.weights()
    assert weights.keys() == policy.model.state_dict().keys()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    taught.update(train_samples(policy))
    assert not torch.equal(weights["lm_head.weight"], before["lm_head.weight"])


def test_without_a_wish_for_them_there_are_no_traces(policy):
    taught, rollouts = learner(policy, epochs=2), train_samples(policy)
    assert taught.result(rollouts).traces == []
    assert [len(traces) for traces in taught.result(rollouts, traced=True).traces] == [2] * len(rollouts)
