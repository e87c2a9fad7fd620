"""When memory runs out, the step is taken all the same; and optimizers that need less of it."""

import logging
import sys

import pytest
import torch

from azr.config import AlgorithmConfig, LearnerConfig
from azr.errors import UserError
from azr.learn.optimizer import Optimizer
from tests.learners import draw, learner, train_samples


def limit_memory(model, tokens):
    """Have a forward pass over more tokens ask for memory that no machine has: torch fails in its own words."""

    def ask(_module, args):
        if args[0].numel() > tokens:
            torch.empty(2**50)

    return model.get_input_embeddings().register_forward_pre_hook(ask)


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def test_a_step_that_runs_out_of_memory_is_taken_with_a_smaller_budget(load, caplog):
    plain, short = load("qwen2"), load("qwen2")
    rollouts = train_samples(plain)
    expected, taught = learner(plain, token_budget=1000), learner(short, token_budget=1000)
    wanted = expected.update(rollouts)
    limit_memory(short.model, 60)
    with caplog.at_level(logging.WARNING):
        found = taught.update(rollouts)
    assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-4)
    assert found["entropy"] == pytest.approx(wanted["entropy"], rel=1e-5)  # nothing is counted twice
    assert found["token_budget"] < wanted["token_budget"] == 1000
    assert f"learner.token_budget is now {found['token_budget']:.0f}; the step goes on" in caplog.text


def test_memory_that_runs_out_in_the_middle_leaves_no_gradient_behind(load):
    plain, short = load("qwen2"), load("qwen2")
    rollouts = train_samples(plain)
    learner(plain, token_budget=70).update(rollouts)
    limit_memory(short.model, 60)  # the first micro-batches of 70 tokens are smaller and pass
    learner(short, token_budget=70).update(rollouts)
    after, wanted = weights(short), weights(plain)
    for name in wanted:
        torch.testing.assert_close(after[name], wanted[name], atol=2e-3, rtol=0)


def test_every_rollout_is_traced_once_however_often_the_step_was_tried(policy):
    rollouts = train_samples(policy)
    taught = learner(policy, token_budget=1000)
    limit_memory(policy.model, 60)
    assert [len(traces) for traces in taught.result(rollouts, traced=True).traces] == [1] * len(rollouts)


def test_the_smaller_budget_is_part_of_a_checkpoint(load, tmp_path):
    policy = load("qwen2")
    rollouts, taught = train_samples(policy), learner(policy, token_budget=1000)
    hook = limit_memory(policy.model, 60)
    taught.update(rollouts)
    hook.remove()
    taught.save(tmp_path)
    resumed = learner(load("qwen2"), token_budget=1000)
    resumed.load(tmp_path)
    assert resumed.update(rollouts)["token_budget"] == taught.update(rollouts)["token_budget"] < 1000


@pytest.mark.slow
def test_a_row_that_memory_does_not_hold_ends_the_run_in_one_line(policy):
    rollouts, before = train_samples(policy), weights(policy)
    taught = learner(policy)
    limit_memory(policy.model, 1)
    with pytest.raises(UserError, match="learning from a single prompt") as caught:
        taught.update(rollouts)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(policy).items())


def test_other_errors_are_no_reason_to_try_again(policy):
    rollouts, taught = train_samples(policy), learner(policy)

    def break_down(*_):
        raise RuntimeError("a shape does not fit")

    policy.model.get_input_embeddings().register_forward_pre_hook(break_down)
    with pytest.raises(RuntimeError, match="a shape does not fit"):
        taught.update(rollouts)


def test_scores_without_gradient_keep_to_memory_too(policy):
    rollouts, algorithm = train_samples(policy), AlgorithmConfig(importance_cap=2.0)
    taught = learner(policy, algorithm=algorithm, epochs=2, token_budget=1000)
    limit_memory(policy.model, 60)
    assert taught.update(rollouts)["token_budget"] < 1000


def test_sampling_beyond_memory_is_one_line(policy):
    limit_memory(policy.model, 3)
    with pytest.raises(UserError, match=r"lower generation\.max_rows") as caught:
        draw(policy, "abcdef", 2)
    assert "\n" not in str(caught.value)


OPTIMIZERS = [{"optimizer": "adamw-fused"}, {"offload": True}, {"optimizer": "adamw-fused", "offload": True}]


def stepped(values, **options):
    weight = torch.nn.Parameter(values.clone())
    optimizer = Optimizer([weight], LearnerConfig(lr=1e-2, weight_decay=0.1, **options))
    for step in range(5):
        weight.grad = torch.linspace(-1, 1 + step, values.numel(), dtype=values.dtype).reshape(values.shape)
        optimizer.collect()
        optimizer.clip()
        optimizer.step(1e-2)
    return weight.detach()


@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_and_how_adamw_runs_does_not_change_its_steps(options, dtype):
    values = torch.randn(64, 80, dtype=dtype, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stepped(values, **options), stepped(values))


def test_moments_in_eight_bits_take_nearly_the_same_steps():
    values = torch.randn(64, 80, generator=torch.Generator().manual_seed(0))
    plain, eight = stepped(values), stepped(values, optimizer="adamw-8bit")
    assert not torch.equal(plain, eight)
    assert (plain - eight).abs().mean() < 0.1 * (plain - values).abs().mean()


def test_moments_in_eight_bits_are_smaller():
    weight = torch.nn.Parameter(torch.randn(64, 80))
    optimizer = Optimizer([weight], LearnerConfig(optimizer="adamw-8bit"))
    weight.grad = torch.ones_like(weight)
    optimizer.step(1e-3)
    (state,) = [part for part in optimizer.state()["adam"]["state"][0].values() if isinstance(part, dict)]
    moments = [tensor for tensor in state.values() if torch.is_tensor(tensor) and tensor.shape == weight.shape]
    assert [moment.dtype for moment in moments] == [torch.uint8] * 2


@pytest.mark.parametrize("options", [*OPTIMIZERS, {"optimizer": "adamw-8bit"}])
def test_every_optimizer_goes_on_from_a_checkpoint_as_if_nothing_had_happened(load, tmp_path, options):
    policy = load("qwen2")
    rollouts, taught = train_samples(policy), learner(policy, **options)
    for _ in range(2):
        taught.update(rollouts)
    taught.save(tmp_path)
    expected = [taught.update(rollouts) for _ in range(2)]
    resumed = learner(load("qwen2"), **options)
    resumed.load(tmp_path)
    assert [resumed.update(rollouts) for _ in range(2)] == expected


def test_eight_bits_without_the_extra_are_one_line(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match=r"pip install 'azr\[quant\]'"):
        learner(policy, optimizer="adamw-8bit")
