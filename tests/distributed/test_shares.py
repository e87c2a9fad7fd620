"""Ranks with unequal shares, without any, or without memory: no rank waits forever, and the gradient is the same."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from azr.distributed import group
from azr.learn.base import UpdateStopped
from azr.models.failures import out_of_memory
from tests.distributed.groups import together
from tests.distributed.learning import KL_AND_CAP, lead, make_learner, rollouts, steps, weights
from tests.distributed.test_equality import assert_equal_steps

SHARDINGS = ["sharded", "replicated"]


sizes = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans()))


@given(sizes)
def test_gradients_are_sent_in_buckets_of_one_type_and_limited_size(gradients):
    ours = [torch.zeros(size, dtype=dtype) if known else None for size, dtype, known in gradients]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "_BUCKET", 64)
        buckets = list(group._buckets(ours))
    assert sorted(i for bucket in buckets for i, _ in bucket) == [i for i, one in enumerate(ours) if one is not None]
    for bucket in buckets:
        assert len({one.dtype for _, one in bucket}) == 1
        assert len(bucket) == 1 or sum(one.nbytes for _, one in bucket) <= 64
        assert all(one is ours[i] for i, one in bucket)


@pytest.fixture(scope="module")
def samples(folders):
    return rollouts(folders["qwen2"])


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("count", [1, 5])
def test_ranks_with_unequal_rollouts_or_none_take_the_same_step(folders, samples, sharding, count):
    few, options = samples[:count], {"token_budget": 1}  # one row in a micro-batch
    (wanted,) = together(1, "", steps, folders["qwen2"], 2, few, options)
    found = together(3, sharding, steps, folders["qwen2"], 2, few, options)[0]
    assert_equal_steps(found, wanted)


def short_of_memory(ranks, model, samples, options, victim, place):
    """Take a step in which one rank runs out of memory at some place of a larger micro-batch."""
    policy, learner = make_learner(ranks, model, **options)
    trained = learner._scorer.model
    if ranks.rank == victim:
        PLACES[place](trained)
    return lead(ranks, learner.calls, lambda: dict(learner._update(samples, False).metrics)), weights(policy)


def forward_of(layer):
    def limit(trained):
        def ask(_module, args):
            if args[0][..., 0].numel() > 30:
                torch.empty(2**50)

        trained.get_decoder().layers[layer].mlp.act_fn.register_forward_pre_hook(ask)

    return limit


def backward_of(layer):
    def limit(trained):
        def ask(_module, _gradients_in, gradients_out):
            if gradients_out[0][..., 0].numel() > 30:
                torch.empty(2**50)

        trained.get_decoder().layers[layer].mlp.act_fn.register_full_backward_hook(ask)

    return limit


PLACES = {
    "the first layer": forward_of(0),
    "the last layer": forward_of(-1),
    "the last layer's gradient": backward_of(-1),
    "the first layer's gradient": backward_of(0),
}


def test_torch_fails_as_it_does_without_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert out_of_memory(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("sharding", "victim"), [("sharded", 0), ("sharded", 1), ("replicated", 1)])
def test_memory_that_runs_out_on_one_rank_halves_the_budget_of_all(folders, samples, sharding, victim, place):
    options = {"token_budget": 100}
    (wanted,) = together(1, "", steps, folders["qwen2"], 1, samples, options)
    ranks = together(2, sharding, short_of_memory, folders["qwen2"], samples, options, victim, place)
    metrics, found = ranks[0]
    assert metrics["token_budget"] < 100
    assert_equal_steps(([metrics], found), (wanted[0], wanted[1]))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"lora": 4}, {"algorithm": {**KL_AND_CAP, "kl_in": "reward"}, "minibatches": 2}])
def test_memory_that_runs_out_in_other_passes_is_agreed_on_too(folders, samples, options):
    options = {"token_budget": 100, **options}
    (wanted,) = together(1, "", steps, folders["qwen2"], 1, samples, {**options, "token_budget": 25})
    ranks = together(2, "sharded", short_of_memory, folders["qwen2"], samples, options, 1, "the last layer")
    assert_equal_steps(([ranks[0][0]], ranks[0][1]), (wanted[0], wanted[1]))


def take_turns(ranks, folder):
    """Two micro-batches per rank, where rank 0's first one waits for rank 1's second; returns whether it came."""
    came = []

    def wait():
        end = time.monotonic() + 60
        while not (folder / "second").exists() and time.monotonic() < end:
            time.sleep(0.01)
        came.append((folder / "second").exists())

    works = {0: [wait, None], 1: [lambda: None, (folder / "second").touch]}
    ranks.each(works[ranks.rank], lambda: None, lambda: None)
    return came


@pytest.mark.slow
def test_replicas_do_not_wait_for_each_other_between_micro_batches(tmp_path):
    assert together(2, "replicated", take_turns, tmp_path)[0] == [True]


def end_early(ranks, stops):
    """Micro-batches of which rank 0's first one fails, or is not begun; returns how that ended, and how many were done."""
    done = []

    def work():
        if ranks.rank == 0:
            torch.empty(2**50)
        done.append(0)
        time.sleep(0.02)

    def check():
        if stops and ranks.rank == 0:
            raise UpdateStopped

    try:
        ranks.each([work] * 2000, lambda: None, check)
    except (UpdateStopped, torch.OutOfMemoryError) as error:
        return type(error), len(done)


@pytest.mark.slow
@pytest.mark.parametrize(("stops", "error"), [(True, UpdateStopped), (False, torch.OutOfMemoryError)])
def test_what_ends_one_replicas_work_ends_that_of_all_before_its_end(stops, error):
    (first, none), (second, few) = together(2, "replicated", end_early, stops)
    assert (first, second, none) == (error, error, 0)
    assert few < 2000


@pytest.mark.slow
def test_the_whole_step_is_the_same_with_gradient_checkpointing(folders, samples):
    options = {"model": {"gradient_checkpointing": True}}
    (wanted,) = together(1, "", steps, folders["qwen2"], 2, samples, {})
    found = together(2, "sharded", steps, folders["qwen2"], 2, samples, options)[0]
    assert_equal_steps(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_the_critic_of_ppo_learns_on_all_ranks(folders, samples, sharding):
    (wanted,) = together(1, "", learn_values, folders["qwen2"], samples)
    found = together(2, sharding, learn_values, folders["qwen2"], samples)[0]
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5, rtol=1e-4)


def learn_values(ranks, model, samples):
    """Values of all rollouts after two steps of PPO, on rank 0."""
    from dataclasses import replace

    _, learner = make_learner(ranks, model, algorithm={"name": "ppo"})

    def work():
        for _ in range(2):
            values = learner._values(samples)
            valued = [
                replace(sample, values_T=value, returns_T=value + 1.0)
                for sample, value in zip(samples, values, strict=True)
            ]
            learner._update(valued, False)
        return learner._values(samples)

    return lead(ranks, learner.calls, work)
