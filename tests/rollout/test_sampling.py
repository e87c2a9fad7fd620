"""From logits to tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from azr.rollout.local.draw import draw as draw_compiled
from azr.rollout.local.sampling import draw


def by_torch(logits, temperatures, uniforms, top_p=1.0):
    return draw(
        logits,
        temperature_R=torch.tensor(temperatures),
        top_p_R=torch.full((len(uniforms),), top_p, dtype=torch.float64),
        uniform_R=torch.tensor(uniforms, dtype=torch.float64),
    )


def by_kernel(logits, temperatures, uniforms):
    found = draw_compiled(logits, np.array(temperatures, np.float32), np.array(uniforms))
    return tuple(torch.from_numpy(array) for array in found)


EVERY = pytest.mark.parametrize("how", [by_torch, by_kernel])


def tokens(how, probabilities, uniforms, *, temperature=1.0, **options):
    rows = len(uniforms)
    return how(torch.tensor(probabilities).log().expand(rows, -1), [temperature] * rows, uniforms, **options)


@EVERY
def test_the_distribution_function_is_inverted(how):
    # Cumulative: 0.2, 0.2, 0.7, 1.
    drawn, logprobs = tokens(how, [0.2, 0.0, 0.5, 0.3], [0.0, 0.19, 0.21, 0.69, 0.71, 0.999])
    assert drawn.tolist() == [0, 0, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.2, 0.2, 0.5, 0.5, 0.3, 0.3])


@EVERY
def test_frequencies_are_the_probabilities(how):
    uniforms = np.random.default_rng(0).random(20_000)
    drawn, _ = tokens(how, [0.1, 0.6, 0.3], uniforms)
    shares = torch.bincount(drawn, minlength=3) / len(uniforms)
    assert shares.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.015)


@EVERY
def test_temperature_scales_logits_and_log_probabilities(how):
    # At temperature 0.5 probabilities are squared and normalised: 0.04, 0.25, 0.09 -> cumulative 0.105, 0.763, 1.
    drawn, logprobs = tokens(how, [0.2, 0.5, 0.3], [0.10, 0.11, 0.77], temperature=0.5)
    assert drawn.tolist() == [0, 1, 2]
    assert logprobs.exp().tolist() == pytest.approx([0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38])


@EVERY
def test_temperature_zero_takes_the_most_probable_with_raw_log_probabilities(how):
    drawn, logprobs = tokens(how, [0.2, 0.5, 0.3], [0.0, 0.99], temperature=0.0)
    assert drawn.tolist() == [1, 1]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5])


def test_top_p_keeps_the_fewest_tokens_that_reach_it_but_log_probabilities_are_those_before():
    # Nucleus of 0.7: tokens 1 (0.5) and 2 (0.3); renormalised cumulative over (0, 1, 2): 0, 0.625, 1.
    drawn, logprobs = tokens(by_torch, [0.2, 0.5, 0.3], [0.0, 0.62, 0.63, 0.999], top_p=0.7)
    assert drawn.tolist() == [1, 1, 2, 2]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5, 0.3, 0.3])


def test_a_nucleus_smaller_than_any_token_keeps_the_most_probable():
    drawn, _ = tokens(by_torch, [0.2, 0.5, 0.3], [0.0, 0.99], top_p=0.01)
    assert drawn.tolist() == [1, 1]


@EVERY
def test_the_last_token_with_a_probability_is_the_last_that_is_drawn(how):
    almost = np.nextafter(1.0, 0.0)
    drawn, _ = tokens(how, [0.0, 0.2, 0.8] + [0.0] * 300, [0.0, almost])
    assert drawn.tolist() == [1, 2]


@given(
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.5, 4.0, 30.0]),
    st.lists(st.sampled_from([0.0, 0.3, 1.0, 1.7]), min_size=1, max_size=6),
)
def test_the_kernel_draws_what_torch_draws(size, seed, spread, temperatures):
    rng, rows = np.random.default_rng(seed), len(temperatures)
    logits = torch.from_numpy(rng.normal(0, spread, (rows, size)).astype(np.float32))
    uniforms = rng.random(rows)
    ours, theirs = by_kernel(logits, temperatures, uniforms), by_torch(logits, temperatures, uniforms)
    assert ours[0].tolist() == theirs[0].tolist()
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5)
