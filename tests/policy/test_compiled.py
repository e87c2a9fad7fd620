"""The decoding step through the real compiler, on a CPU: no CUDA graphs, the same code."""

import asyncio

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.output_code import CompiledFxGraph

from azr.config import LoRAConfig
from azr.errors import UserError
from azr.policy import adapters, compiled, static
from azr.policy.decode import Decoder
from azr.policy.load import wrap
from tests.policy.helpers import learner, trainees
from tests.policy.test_generate import play
from tests.policy.test_static import drain, make, tickets

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _many_buckets(monkeypatch):
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(static, "ROWS", 2)
    monkeypatch.setattr(static, "COLUMNS", 16)


@pytest.fixture
def traced(monkeypatch):
    """Trace, and run what was traced as it is: the compiler's front half, which decides how often to compile."""
    monkeypatch.setattr(compiled, "compiled", lambda step: torch.compile(step, backend="eager", fullgraph=True))


def samples(policy, *, compile):
    return asyncio.run(play(make(policy, compile=compile, overlap=True), range(6)))


def assert_equal_samples(policy):
    exact, fast = samples(policy, compile=False), samples(policy, compile=True)
    assert [sample.completion_ids for sample in fast] == [sample.completion_ids for sample in exact]
    for one, other in zip(fast, exact, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    return exact


def test_one_compilation_samples_as_without_it_before_and_after_the_weights_were_updated(load, monkeypatch):
    policy, steps = load("qwen2"), []
    finished = CompiledFxGraph.post_compile

    def noting(graph, inputs, constants, options):
        steps.append((set(graph.mutated_input_idxs), set(options["static_input_idxs"])))
        return finished(graph, inputs, constants, options)

    monkeypatch.setattr(CompiledFxGraph, "post_compile", noting)
    before = assert_equal_samples(policy)
    learner(policy).update(trainees(policy))
    after = assert_equal_samples(policy)
    assert [sample.completion_ids for sample in before] != [sample.completion_ids for sample in after]
    ((mutated, fixed),) = steps
    assert len(mutated) == 4  # keys and values of two layers: CUDA graphs want them where they lie
    assert mutated <= fixed


def test_a_sliding_window_and_an_adapter_are_compiled_once_too(load, traced):
    policy = load("qwen2")
    config = policy.model.config
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["sliding_attention", "full_attention"]
    policy = wrap(type(policy.model)(config), policy.tokenizer)
    adapters.attach(policy.model, LoRAConfig(rank=2))
    learner(policy).update(trainees(policy))
    assert_equal_samples(policy)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_step_that_cannot_be_compiled_whole_is_one_clear_error(load):
    policy = load("qwen2")
    policy.model.model.norm.register_forward_hook(lambda *_: torch._dynamo.graph_break())
    with pytest.raises(
        UserError, match=r"generation\.compile = true, model .*; set generation\.compile = false"
    ) as told:
        drain(Decoder(policy, max_rows=2, seed=0, compile=True), tickets(2, new=5))
    assert "\n" not in str(told.value)


def test_too_many_compilations_are_an_error_and_not_a_slower_way(load, monkeypatch):
    monkeypatch.setattr(compiled, "_COMPILATIONS", 1)
    monkeypatch.setattr(torch, "compile", _eager(torch.compile))
    drain(Decoder(load("qwen2"), max_rows=2, seed=0, compile=True), tickets(2, new=5))
    with pytest.raises(UserError, match="more than 1 compilations"):
        drain(Decoder(load("gpt2"), max_rows=2, seed=0, compile=True), tickets(2, new=5))


def _eager(compile_):
    return lambda step, *, mode, fullgraph: compile_(step, backend="eager", fullgraph=fullgraph)
