import json

import numpy as np
import pytest
import torch

from azr.config import ModelConfig
from azr.models.load import load_model
from nursery import corpus as corpora
from nursery import train as training
from nursery.build import FOLDER, Recipe, build
from nursery.corpus import build_corpus, encode
from nursery.documents import Mix
from nursery.tokenizer import build_tokenizer
from nursery.train import Schedule, Shape

TINY = Recipe(
    programs=20,
    mix=Mix(),
    schedule=Schedule(tokens=40_000, lr=3e-3, batch=1024),
    shape=Shape(hidden=32, layers=1, heads=2, feed_forward=48),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return folder, build(folder, TINY, processes=1, threads=1)


def test_a_built_folder_loads_like_any_model_and_writes(built):
    policy = load_model(ModelConfig(name=str(built[0]), device="cpu"))
    ids = torch.tensor([policy.encode("<deduction>\n")])
    written = policy.model.generate(ids, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > ids.shape[1]
    assert policy.eos_ids == (policy.tokenizer.eos_token_id,)


def test_the_record_says_how_it_was_made(built):
    folder, record = built
    assert json.loads((folder / "nursery.json").read_text()) == json.loads(json.dumps(record))
    assert record["counts"]["programs"] == 20
    assert record["tokens"] == sum(count for key, count in record["counts"].items() if key.startswith("tokens/"))


def test_training_lowers_the_loss():
    losses = []
    corpus = build_corpus(20, seed=0, mix=Mix())
    tokenizer = build_tokenizer()
    model = training.new_model(TINY.shape, vocabulary=len(tokenizer), eos=0, pad=1, seed=0)
    training.train(
        model,
        corpus,
        TINY.schedule,
        pad=1,
        seed=0,
        report=lambda point: losses.append(point.loss),
        every=5,
    )
    assert losses[-1] < 0.9 * losses[0]


def test_a_budget_in_tokens_makes_the_same_model_again(built, tmp_path):
    build(tmp_path, TINY, processes=1, threads=1)
    assert (tmp_path / "model.safetensors").read_bytes() == (built[0] / "model.safetensors").read_bytes()


@pytest.mark.slow  # its processes import all over again
def test_a_corpus_is_the_same_whatever_the_number_of_processes(monkeypatch):
    monkeypatch.setattr(corpora, "_SHARD", 2)
    one, two = build_corpus(4, seed=3, mix=Mix()), build_corpus(4, seed=3, mix=Mix(), processes=2)
    assert np.array_equal(one.tokens, two.tokens)
    assert one.counts == two.counts
    assert one.counts["programs"] == 4  # of two shards


def test_tokens_and_weights_are_those_of_the_documents(made):
    mix = Mix(prompt_weight=0.1)
    corpus = encode(made[:20], mix)
    tokenizer = build_tokenizer()
    for number, document in enumerate(made[:20]):
        part = slice(corpus.starts[number], corpus.starts[number + 1])
        assert tokenizer.decode(corpus.tokens[part]) == document.prompt + document.text + "<eos>"
        prompt = len(tokenizer.encode(document.prompt))
        assert set(corpus.weights[part][:prompt]) == {10}
        assert corpus.weights[part][-1] == 100
        lost = sum(len(tokenizer.encode(piece)) for piece, weight in document.answer if weight == 0)
        assert (corpus.weights[part] == 0).sum() == lost


@pytest.mark.parametrize(("done", "rate"), [(0.015, 0.5), (0.03, 1.0), (0.515, 0.525), (1.0, 0.05)])
def test_the_learning_rate_rises_and_falls_along_a_cosine(done, rate):
    assert training._rate(done, Schedule(warmup=0.03, last=0.05)) == pytest.approx(rate)


def test_padding_does_not_change_what_is_learnt():
    """A short document beside a long one has the gradient that it has alone."""
    model = training.new_model(TINY.shape, vocabulary=50, eos=0, pad=1, seed=0)
    short, weights = torch.tensor([[5, 6, 7]]), torch.tensor([[1.0, 1.0, 1.0]])
    training._backward(model, short, weights, 2.0)
    alone = model.model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    long = torch.tensor([[5, 6, 7, 1, 1], [9, 9, 9, 9, 9]])
    training._backward(model, long, torch.tensor([[1.0, 1, 1, 0, 0], [0.0, 0, 0, 0, 0]]), 2.0)
    assert torch.allclose(model.model.embed_tokens.weight.grad, alone, atol=1e-6)


def test_the_model_that_ships_loads_and_is_small():
    policy = load_model(ModelConfig(name=str(FOLDER), device="cpu"))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 12 * 2**20
    assert len(policy.tokenizer) == len(build_tokenizer())
    assert policy.tokenizer.get_vocab() == build_tokenizer().get_vocab()
