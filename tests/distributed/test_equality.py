"""Several ranks take the steps that one process takes."""

import numpy as np
import pytest

from azr.models import shipped
from tests.distributed.groups import together
from tests.distributed.learning import rollouts, steps


def assert_equal_steps(found, wanted, *, weights: float = 1e-5):
    for own, other in zip(found[0], wanted[0], strict=True):
        assert own["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
        for name in ("loss", "kl", "entropy", "mismatch_kl", "clip_share", "ratio_max", "tokens", "lr"):
            assert own.get(name, 0) == pytest.approx(other.get(name, 0), rel=1e-4, abs=1e-6), name
    for name, tensor in wanted[1].items():
        np.testing.assert_allclose(found[1][name], tensor, atol=weights, rtol=0, err_msg=name)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("sharding", "lora"),
    [
        pytest.param("sharded", 0, id="sharded"),
        pytest.param("sharded", 4, id="sharded, LoRA", marks=SLOW),
        pytest.param("replicated", 0, id="replicated", marks=SLOW),
        pytest.param("replicated", 4, id="replicated, LoRA", marks=SLOW),
    ],
)
def test_two_ranks_take_the_steps_of_one_process_on_a_tied_model_with_an_uneven_vocabulary(sharding, lora):
    folder = shipped.resolve("nursery")
    # Adam makes a visible part of its step from the rounding error of a gradient near zero, so the rate is small.
    samples, options = rollouts(folder), {"lora": lora, "lr": 1e-4}
    # With checkpointing one process uses transformers' forward pass too, as ranks do that hold a part of the weights.
    alone = {**options, "model": {"gradient_checkpointing": sharding == "sharded"}}
    (wanted,) = together(1, sharding, steps, folder, 3, samples, alone)
    found, _ = together(2, sharding, steps, folder, 3, samples, options)
    assert_equal_steps(found, wanted)
