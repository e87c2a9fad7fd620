"""What the learner computes from whole rollouts."""

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from azr.learn import logprobs
from azr.learn.logprobs import Scorer
from azr.models.load import wrap
from tests.learners import draw, plain_logprobs, train_sample, train_samples
from tests.tiny import tiny_tokenizer


def plain(policy, rollouts, temperature=1.0):
    return torch.cat([plain_logprobs(policy, r.prompt_ids_P, r.completion_ids_T, temperature) for r in rollouts])


def alone(rollouts):
    return [[rollout] for rollout in rollouts]


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_equal_a_plain_forward_pass(load, architecture, temperature):
    policy = load(architecture)
    rollouts, scorer = train_samples(policy), Scorer(policy.model, temperature=temperature)
    assert scorer.split
    torch.testing.assert_close(
        scorer.score(alone(rollouts))[0], plain(policy, rollouts, temperature), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2"])
def test_sharing_a_prompt_changes_neither_values_nor_gradients(load, architecture):
    policy = load(architecture)
    model = policy.model
    samples = [*draw(policy, "def f(x, y): return", 4), *draw(policy, "1 + 1", 1, tokens=30)]
    rollouts = [train_sample(sample, 1.0) for sample in samples]
    scorer = Scorer(model, temperature=1.0)
    results = []
    for rows in (alone(rollouts), [rollouts[:4], rollouts[4:]]):
        model.zero_grad()
        logprobs, *_ = scorer.score(rows)
        logprobs.square().sum().backward()
        results.append((logprobs.detach(), *(parameter.grad for parameter in model.parameters())))
    assert scorer.sharing == ("prompts" if architecture == "gpt2" else "prefixes")
    torch.testing.assert_close(*results, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(results[1][0], plain(policy, rollouts), atol=1e-5, rtol=0)


def _slide(model):
    model.config.sliding_window = 8


def _eager(model):
    model.set_attn_implementation("eager")


@pytest.mark.parametrize("change", [_slide, _eager])
def test_prompts_are_not_shared_where_attention_would_not_follow_the_mask(load, change):
    policy = load("gpt2")
    change(policy.model)
    rollouts = [train_sample(sample, 1.0) for sample in draw(policy, "def f(x, y): return", 4)]
    scorer = Scorer(policy.model, temperature=1.0)
    assert scorer.sharing == "nothing"
    torch.testing.assert_close(scorer.score([rollouts])[0], plain(policy, rollouts), atol=1e-5, rtol=0)


def test_entropy_is_that_of_the_whole_distribution(policy):
    (rollout, *_) = train_samples(policy)
    with torch.no_grad():
        logits = policy.model(
            torch.from_numpy(np.concatenate([rollout.prompt_ids_P, rollout.completion_ids_T])[None])
        ).logits[0]
    expected = torch.distributions.Categorical(logits=logits[len(rollout.prompt_ids_P) - 1 : -1]).entropy()
    torch.testing.assert_close(Scorer(policy.model, temperature=1.0).score([[rollout]])[1], expected)


def test_an_architecture_that_caps_its_logits_is_found_out_and_scored_by_its_own_forward_pass():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": 100}
    config = Gemma2Config(**sizes, num_attention_heads=2, num_key_value_heads=1, eos_token_id=1, bos_token_id=None)
    config.final_logit_softcapping = 0.5
    policy = wrap(Gemma2ForCausalLM(config), tiny_tokenizer())
    scorer, rollouts = Scorer(policy.model, temperature=1.0), train_samples(policy)
    assert not scorer.split
    torch.testing.assert_close(scorer.score(alone(rollouts))[0], plain(policy, rollouts), atol=1e-5, rtol=0)


def test_pieces_of_logits_change_neither_values_nor_gradients(policy, monkeypatch):
    rollouts, model = train_samples(policy), policy.model

    def results():
        model.zero_grad()
        scores, entropy, _ = Scorer(model, temperature=1.0).score(alone(rollouts), entropy_gradient=True)
        (scores.sum() + entropy.sum()).backward()
        return scores.detach(), *(parameter.grad.clone() for parameter in model.parameters())

    whole = results()
    monkeypatch.setattr(logprobs, "MOST_LOGITS", 5 * model.config.vocab_size)
    torch.testing.assert_close(results(), whole, atol=1e-5, rtol=1e-5)
