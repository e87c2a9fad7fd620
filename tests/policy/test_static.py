"""Decoding in few shapes: the same samples, a bounded number of shapes, memory given back. The compiler is left out."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._inductor import cudagraph_trees
from transformers.cache_utils import DynamicCache

from azr.config import GenerationConfig
from azr.errors import UserError
from azr.policy import compiled, static
from azr.policy.base import Sampling
from azr.policy.decode import Decoder, Ticket
from azr.policy.generate import LocalGenerator
from azr.policy.load import wrap
from azr.policy.static import StaticCache, bucket, roomy
from tests.policy.test_generate import play


@pytest.fixture
def shapes(monkeypatch):
    """Take the step as it is, with buckets so small that every test meets many; note the shapes that it gets."""
    seen = []

    def noting(step):
        def noted(forward, given, cache):
            logits = step(forward, given, cache)
            assert logits.isfinite().all()  # of padding rows too
            seen.append((tuple(cache.layers[0].keys.shape), cache.layers[0].keys.data_ptr()))
            return logits

        return noted

    monkeypatch.setattr(compiled, "compiled", noting)
    monkeypatch.setattr(static, "ROWS", 2)
    monkeypatch.setattr(static, "COLUMNS", 4)
    return seen


def make(policy, *, compile, rows=7, overlap=False):
    config = GenerationConfig(max_rows=rows, overlap=overlap, max_prompt_tokens=100, compile=compile)
    return LocalGenerator(policy, config, seed=1)


async def equal_samples(policy, stories=3, **options):
    exact = await play(make(policy, compile=False, **options), range(stories))
    padded = await play(make(policy, compile=True, **options), range(stories))
    assert [sample.completion_ids for sample in padded] == [sample.completion_ids for sample in exact]
    for one, other in zip(padded, exact, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize(("architecture", "overlap"), [("qwen2", False), ("qwen2", True), ("gpt2", True)])
async def test_samples_equal_those_of_exact_shapes_while_rows_join_and_leave(load, shapes, architecture, overlap):
    await equal_samples(load(architecture), stories=5, overlap=overlap)
    assert len({shape for shape, _ in shapes}) > 6


async def test_a_sliding_window_is_kept(policy, shapes):
    config = policy.model.config
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["sliding_attention", "full_attention"]
    await equal_samples(wrap(type(policy.model)(config), policy.tokenizer))


@pytest.mark.parametrize("sampling", [Sampling(30, temperature=0), Sampling(30, top_p=0.5)])
async def test_greedy_and_nucleus_sampling_equal_too(policy, shapes, sampling):
    exact, padded = [
        await make(policy, compile=compile).sample("abc", n=5, key="k", sampling=sampling) for compile in (False, True)
    ]
    assert [sample.completion_ids for sample in padded] == [sample.completion_ids for sample in exact]


def tickets(count, *, new, prompt=5):
    return [Ticket(tuple(range(5, 5 + prompt)), str(i), range(1), Sampling(new + i)) for i in range(count)]


def test_evicted_rows_leave_the_others_as_they_were(policy, shapes):
    both, found = tickets(2, new=12), []
    for chosen in (both[1:], both):
        decoder = Decoder(policy, max_rows=4, seed=0, compile=True)
        done = decoder.admit(chosen) + decoder.step()
        decoder.evict(lambda ticket: ticket.key == "0")
        while decoder.rows:
            done += decoder.step()
        found.append([row.completion_ids for row in done])
    assert found[0] == found[1]


def drain(decoder, chosen):
    decoder.admit(chosen)
    while decoder.rows:
        decoder.step()


def test_the_batch_shrinks_to_smaller_buckets_at_the_same_addresses(policy, shapes):
    drain(Decoder(policy, max_rows=16, seed=0, compile=True), tickets(16, new=20))
    sizes = [shape[0] for shape, _ in shapes]
    assert sizes[0] == 16
    assert sizes[-1] == 2
    assert set(sizes) <= {2, 3, 4, 6, 8, 12, 16}
    assert len({address for shape, address in shapes if shape[2] == 32}) == 1


def test_the_memory_is_given_back_and_taken_again_at_once(policy, shapes):
    decoder = Decoder(policy, max_rows=8, seed=0, compile=True)
    drain(decoder, tickets(8, new=40))
    cache = decoder._step.cache
    assert cache.layers == []
    grown = len({address for _, address in shapes})
    shapes.clear()
    drain(decoder, tickets(8, new=40))
    assert grown > 2
    assert len({address for _, address in shapes}) == 1


def test_an_architecture_that_cannot_be_compiled_is_refused(policy, monkeypatch):
    monkeypatch.setattr(type(policy.model), "_can_compile_fullgraph", False)
    with pytest.raises(UserError, match=r"cannot compile Qwen2ForCausalLM; set generation\.compile = false"):
        Decoder(policy, max_rows=2, seed=0, compile=True)


def test_graphs_are_dropped_when_the_buffers_have_moved_too_often(policy, shapes, monkeypatch):
    dropped = []
    monkeypatch.setattr(compiled, "_HOMES", 2)
    monkeypatch.setattr(torch.compiler, "reset", lambda: dropped.append(True))
    step = Decoder(policy, max_rows=2, seed=0, compile=True)._step
    counts = []
    for home in [(1,), (2,), (1,), (2,), (3,), (3,), (1,)]:
        step._bound(home)
        counts.append(len(dropped))
    assert counts == [0, 0, 0, 0, 1, 1, 1]


def test_nothing_slower_is_fallen_back_to(monkeypatch):
    def strictness():
        return torch._inductor.config.triton.cudagraph_or_error, torch._dynamo.config.recompile_limit

    monkeypatch.setattr(torch, "compile", lambda step, *, mode, fullgraph: step if fullgraph else None)
    with ThreadPoolExecutor(1) as pool:  # torch keeps these settings for each thread
        assert pool.submit(compiled.compiled(strictness)).result() == (True, compiled._COMPILATIONS)
        assert pool.submit(strictness).result()[0] is False


def test_a_thread_of_its_own_may_record_graphs():
    found = []

    def run():
        compiled._adopt_thread()
        found.append(cudagraph_trees.local.tree_manager_containers)
        found.append(torch._C._get_obj_in_tls("tree_manager_containers"))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[0] is found[1]
    assert found[0] is not cudagraph_trees.local.tree_manager_containers


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [(1, 8, 8), (8, 8, 8), (9, 8, 12), (12, 8, 12), (13, 8, 16), (17, 8, 24), (256, 8, 256), (257, 8, 384),
     (1, 352, 352), (353, 352, 528), (16021, 352, 16896), (1, 2, 2), (3, 2, 3)],
)  # fmt: skip
def test_buckets(size, least, expected):
    assert bucket(size, least) == expected


def test_buckets_are_few_and_none_of_columns_is_one_of_rows():
    rows = {bucket(size, static.ROWS) for size in range(1, 257)}
    columns = {bucket(size, static.COLUMNS) for size in range(1, 16897)}
    assert (len(rows), len(columns), rows & columns) == (11, 12, set())
    assert all(size % 16 == 0 for size in columns)


def prefilled(rows, width):
    """A left-padded prefill of one layer whose keys are the tokens, and whose values their negatives."""
    keys = torch.full((len(rows), 1, width, 1), -1.0)
    for number, row in enumerate(rows):
        keys[number, 0, width - len(row) :, 0] = torch.tensor(row)
    cache = DynamicCache()
    cache.update(keys, -keys, 0)
    return cache


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 3)),
        st.tuples(st.just("steps"), st.integers(1, 25)),
        st.tuples(st.just("leave"), st.integers(0, 2**12 - 1)),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(OPERATIONS)
def test_the_cache_holds_what_it_was_given_whatever_comes_and_goes(operations):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "ROWS", 2)
        patch.setattr(static, "COLUMNS", 4)
        _Held().play(operations)


class _Held:
    """A cache beside plain lists of what it should hold: every token is a number of its own."""

    def __init__(self):
        self.cache, self.rows, self.numbers = StaticCache(torch.device("cpu")), [], itertools.count(1)

    def play(self, operations):
        for name, *arguments in operations:
            getattr(self, name)(*arguments)
            if self.rows:
                self.check()

    def fresh(self, count):
        return [float(next(self.numbers)) for _ in range(count)]

    def join(self, lengths, copies):
        new = [self.fresh(length) for length in lengths]
        self.cache.append(prefilled(new, max(lengths)), [copies] * len(new))
        self.rows += [list(row) for row in new for _ in range(copies)]

    def steps(self, count):
        for _ in range(count if self.rows else 0):
            tokens = self.fresh(len(self.rows))
            states = torch.full((self.cache.slots, 1, 1, 1), -2.0)
            states[: len(tokens), 0, 0, 0] = torch.tensor(tokens)
            self.cache.update(states, -states, 0)
            self.cache.advance()
            for row, token in zip(self.rows, tokens, strict=True):
                row.append(token)

    def leave(self, bits):
        gone = np.array([bits >> (place % 12) & 1 == 1 for place in range(len(self.rows))], bool)
        left = int((~gone).sum())
        target, source = np.flatnonzero(gone[:left]), left + np.flatnonzero(~gone[left:])
        for old, place in zip(source, target, strict=True):
            self.rows[place] = self.rows[old]
        del self.rows[left:]
        self.cache.keep(left, max(map(len, self.rows), default=0), source=source, target=target)

    def check(self):
        cache, (layer,) = self.cache, self.cache.layers
        for place, row in enumerate(self.rows):
            used = (place, 0, slice(cache.end - len(row), cache.end), 0)
            assert layer.keys[used].tolist() == row
            assert layer.values[used].tolist() == [-token for token in row]
        assert tuple(layer.keys.shape) == (cache.slots, 1, cache.columns, 1)
        assert cache.slots == bucket(len(self.rows), static.ROWS)
        assert cache.end < cache.columns <= roomy(cache.width)
        assert int(cache.end_1) == cache.end
