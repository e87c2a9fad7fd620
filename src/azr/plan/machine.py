"""Memory per GPU of a machine with several: that of each rank that learns, and that of a vLLM server."""

from dataclasses import dataclass, replace

from azr.config import Config
from azr.plan.memory import Memory, Shape, count, longest

ENGINE = 3 * 2**30
"""Bytes that a vLLM server takes per GPU beside weights, keys and values. Assumed, not measured."""


def rank_memory(
    shape: Shape, config: Config, *, width: int, ranks: int, sharded: bool, first: bool, samples: bool
) -> Memory:
    """Memory of one rank of the learner.

    Sharded, a rank has its part of weights, gradients, optimizer state and reference. Rank 0 also has the model whole.

    Args:
        shape: of the model.
        config: of the run.
        width: bytes per number that the model computes with.
        ranks: number of ranks.
        sharded: whether each has only a part (FSDP2), or all of the model.
        first: whether this is rank 0.
        samples: whether ranks sample themselves, without servers: all of them, or rank 0 if they are sharded.
    """
    whole = count(shape, config, width=width)
    if not samples or (sharded and not first):
        whole = replace(whole, cache=0, sampling=0, joined=0)
    if not sharded:
        return whole
    return replace(
        whole,
        weights=whole.weights // ranks,
        gradients=whole.gradients // ranks,
        optimizer=whole.optimizer // ranks,
        reference=whole.reference // ranks,
        host=whole.host // ranks,
        whole=whole.weights if first else 0,
        gathered=_gathered(shape, config, width),
        start=whole.weights * (2 if first else 1) + whole.reference,
    )


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """Memory of one GPU of a vLLM server.

    Attributes:
        weights: bytes.
        cache: bytes for keys and values.
        tokens: whose keys and values fit there.
        rows: sequences of full length that these are; below 1 the server does not start.
    """

    weights: int
    cache: int
    tokens: int
    rows: int


def server_memory(shape: Shape, config: Config, *, width: int, tensor_parallel: int, room: int) -> ServerMemory:
    """Memory of one GPU of a server whose copy of the model is divided among `tensor_parallel` of them.

    Key heads are divided too, but not below one per GPU. Quantised weights are served in the width of the others.

    Args:
        shape: of the model.
        config: of the run.
        width: bytes per number.
        tensor_parallel: GPUs per copy.
        room: bytes that the server may use.
    """
    weights = shape.parameters * width // tensor_parallel
    token = 2 * shape.layers * shape.kv * width // min(tensor_parallel, shape.kv_heads)
    cache = max(0, room - weights - ENGINE)
    return ServerMemory(weights, cache, cache // token, cache // token // longest(config))


def _gathered(shape: Shape, config: Config, width: int) -> int:
    """What a rank holds of others' parts at most: embeddings and head during the whole pass, and two layers.

    Gradients of embeddings, head and one layer are whole before they are summed, in float32 one at a time.
    """
    root, layer = shape.parameters - shape.linear, shape.linear // shape.layers
    weights = (root + 2 * layer) * width
    return weights if config.model.lora.rank else weights + (root + layer) * width + max(root, layer) * 4
