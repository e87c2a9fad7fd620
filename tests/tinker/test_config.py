"""Which settings a model on a Tinker service accepts, and what it makes of those that are not set."""

from __future__ import annotations

import pytest

from azr.errors import UserError
from azr.train.start import RESUMABLE, resolve

BASE = ["model.name=tinker:Qwen/Qwen3-8B"]


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("model.quantization=4bit", "not loaded here"),
        ("model.gradient_checkpointing=true", "model.gradient_checkpointing = true: .*not loaded here"),
        ("model.device=cuda", "not loaded here"),
        ("model.dtype=bfloat16", "not loaded here"),
        ("model.attention=sdpa", "not loaded here"),
        ("model.trust_remote_code=true", "not loaded here"),
        ("model.lora.alpha=16", "model.lora.alpha = 16.0: Tinker's adapters have 32.0"),
        ('model.lora.targets=["q_proj"]', "Tinker chooses the layers"),
        ("generation.urls=http://a:8000", "the Tinker service samples"),
        ("generation.temperature=0.7", "at temperature 1 only"),
        ("algorithm.name=ppo", "no hidden states"),
        ("selfplay.search.gold=0.5", "learns only what it has sampled"),
        ("selfplay.search.relabelled=0.5", "learns only what it has sampled"),
        ("selfplay.relabel=0.5", "learns only what it has sampled"),
        ("algorithm.entropy_coefficient=0.001", "no gradient of the entropy"),
        ("learner.optimizer=adamw-8bit", "AdamW in float32"),
        ("learner.offload=true", "nothing is learnt in this process"),
        ("learner.processes=2", "nothing is learnt in this process"),
        ("learner.sharding=sharded", "nothing is learnt in this process"),
        ("model.tinker.url=tinker.example", "has the form https://host:port"),
        ("model.name=tinker:a@http://b", "set the address in model.tinker.url"),
    ],
)
def test_what_the_service_cannot_do_is_refused(assignment, why):
    with pytest.raises(UserError, match=why) as caught:
        resolve("demo", [*BASE, assignment])
    assert assignment.split("=")[0].split(".")[-1] in str(caught.value)


def test_adapters_and_the_importance_cap_are_set_unless_given():
    config = resolve("demo", BASE)
    assert (config.model.hosted, config.model.lora.rank) == ("Qwen/Qwen3-8B", 32)
    assert config.algorithm.importance_cap == 2.0
    given = resolve("demo", [*BASE, "model.lora.rank=8", "algorithm.importance_cap=3", "generation.max_staleness=1"])
    assert (given.model.lora.rank, given.algorithm.importance_cap) == (8, 3.0)


def test_a_tokenizer_of_its_own_is_for_models_on_a_service():
    with pytest.raises(UserError, match=r"model\.tokenizer is for a model on a Tinker service"):
        resolve("demo", ["model.tokenizer=folder"])


def test_the_address_may_change_on_resume():
    assert "model.tinker.url=http://b".startswith(RESUMABLE)
