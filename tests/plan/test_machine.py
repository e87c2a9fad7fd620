"""Memory per GPU of ranks and servers, against tables computed by hand."""

import pytest

from azr.plan.machine import ENGINE, rank_memory, server_memory
from azr.plan.memory import Shape
from azr.plan.pace import operations
from azr.train.start import resolve

SHAPE = Shape(
    parameters=1000,
    linear=800,
    adapter=10,
    layers=4,
    hidden=8,
    intermediate=16,
    heads=8,
    kv_heads=2,
    attention=8,
    kv=4,
    vocabulary=10,
)
ROOT, LAYER = 200, 200  # embeddings and head; one of four layers


def of_rank(*words, ranks=4, sharded=True, first=False, samples=False):
    config = resolve("paper", words)
    return rank_memory(SHAPE, config, width=2, ranks=ranks, sharded=sharded, first=first, samples=samples)


@pytest.mark.parametrize(
    ("words", "weights", "gradients", "optimizer", "reference", "host"),
    [
        # bfloat16 weights, float32 gradients, float32 copies and two moments, all by four
        ((), 2000 // 4, 4000 // 4, 12000 // 4, 0, 0),
        (("learner.offload=true",), 500, 2000 // 4, 0, 0, 16000 // 4),
        (("model.lora.rank=2",), (2000 + 20 * 4) // 4, 20 * 4 // 4, 20 * 8 // 4, 0, 0),
        (("algorithm.kl_coefficient=0.1",), 500, 1000, 3000, 2000 // 4, 0),
        # an adapter's reference is the model without it
        (("algorithm.kl_coefficient=0.1", "model.lora.rank=2"), 520, 20, 40, 0, 0),
        # the learner's own log-probabilities are kept in the CPU's memory
        (("algorithm.importance_cap=2", "learner.minibatches=4"), 500, 1000, 3000, 0, 0),
    ],
)
def test_a_sharded_rank_has_its_part(words, weights, gradients, optimizer, reference, host):
    memory = of_rank(*words)
    found = (memory.weights, memory.gradients, memory.optimizer, memory.reference, memory.host)
    assert found == (weights, gradients, optimizer, reference, host)


def test_rank_0_also_has_the_model_whole():
    first, other = of_rank(first=True), of_rank()
    assert (first.whole, other.whole) == (2000, 0)
    assert first.peak - other.peak == 2000


def test_replicated_ranks_have_everything():
    memory = of_rank(sharded=False, first=True)
    assert (memory.weights, memory.gradients, memory.optimizer) == (2000, 4000, 12000)
    assert (memory.whole, memory.gathered, memory.start) == (0, 0, 0)


@pytest.mark.parametrize(
    ("words", "gathered"),
    [
        # weights of the root and two layers; gradients of the root and one, of which one in float32
        ((), (ROOT + 2 * LAYER) * 2 + (ROOT + LAYER) * 2 + LAYER * 4),
        (("model.lora.rank=2",), (ROOT + 2 * LAYER) * 2),
    ],
)
def test_a_sharded_rank_gathers_embeddings_and_two_layers(words, gathered):
    assert of_rank(*words).gathered == gathered


@pytest.mark.parametrize(("first", "kl", "copies"), [(False, 0, 1), (True, 0, 2), (False, 0.1, 2), (True, 0.1, 3)])
def test_the_model_is_whole_before_it_is_divided(first, kl, copies):
    assert of_rank(f"algorithm.kl_coefficient={kl}", first=first).start == copies * 2000


def test_only_rank_0_samples_and_only_without_servers():
    assert of_rank(first=True, samples=True).cache > 0
    assert of_rank(first=True).cache == of_rank(first=False, samples=True).cache == 0


@pytest.mark.parametrize(
    ("parallel", "weights", "token"),
    [
        (1, 2000, 2 * 4 * 4 * 2),  # keys and values, layers, width, bytes
        (2, 1000, 2 * 4 * 2 * 2),
        (4, 500, 2 * 4 * 2 * 2),  # two key heads on four GPUs: each has a whole one
    ],
)
def test_a_server_has_its_part_of_the_weights_and_of_the_keys(parallel, weights, token):
    config, row = resolve("paper", []), token * (6144 + 8096)
    room = weights + ENGINE + 3 * row + 1
    memory = server_memory(SHAPE, config, width=2, tensor_parallel=parallel, room=room)
    assert (memory.weights, memory.rows, memory.tokens) == (weights, 3, 3 * (6144 + 8096))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), 8),  # the paper's preset recomputes activations
        (("model.gradient_checkpointing=false",), 6),
        (("algorithm.kl_coefficient=0.1",), 10),
        (("algorithm.importance_cap=2",), 8),  # one optimizer step: its forward pass gives them
        (("algorithm.importance_cap=2", "learner.minibatches=4"), 10),
        (("model.lora.rank=2",), 6),
    ],
)
def test_more_passes_cost_operations_and_not_memory(words, expected):
    assert operations(resolve("paper", words)) == expected
