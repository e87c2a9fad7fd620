"""From logits to tokens."""

import numpy as np
import pytest
import torch

from azr.rollout.local.sampling import draw


def tokens(probabilities, uniforms, *, temperature=1.0, top_p=1.0):
    rows = len(uniforms)
    return draw(
        torch.tensor(probabilities).log().expand(rows, -1),
        temperature_R=torch.full((rows,), temperature),
        top_p_R=torch.full((rows,), top_p, dtype=torch.float64),
        uniform_R=torch.tensor(uniforms, dtype=torch.float64),
    )


def test_the_distribution_function_is_inverted():
    # Cumulative: 0.2, 0.2, 0.7, 1.
    drawn, logprobs = tokens([0.2, 0.0, 0.5, 0.3], [0.0, 0.19, 0.21, 0.69, 0.71, 0.999])
    assert drawn.tolist() == [0, 0, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.2, 0.2, 0.5, 0.5, 0.3, 0.3])


def test_frequencies_are_the_probabilities():
    uniforms = np.random.default_rng(0).random(20_000)
    drawn, _ = tokens([0.1, 0.6, 0.3], uniforms)
    shares = torch.bincount(drawn, minlength=3) / len(uniforms)
    assert shares.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.015)


def test_temperature_scales_logits_and_log_probabilities():
    # At temperature 0.5 probabilities are squared and normalised: 0.04, 0.25, 0.09 -> cumulative 0.105, 0.763, 1.
    drawn, logprobs = tokens([0.2, 0.5, 0.3], [0.10, 0.11, 0.77], temperature=0.5)
    assert drawn.tolist() == [0, 1, 2]
    assert logprobs.exp().tolist() == pytest.approx([0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38])


def test_temperature_zero_takes_the_most_probable_with_raw_log_probabilities():
    drawn, logprobs = tokens([0.2, 0.5, 0.3], [0.0, 0.99], temperature=0.0)
    assert drawn.tolist() == [1, 1]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5])


def test_top_p_keeps_the_fewest_tokens_that_reach_it_but_log_probabilities_are_those_before():
    # Nucleus of 0.7: tokens 1 (0.5) and 2 (0.3); renormalised cumulative over (0, 1, 2): 0, 0.625, 1.
    drawn, logprobs = tokens([0.2, 0.5, 0.3], [0.0, 0.62, 0.63, 0.999], top_p=0.7)
    assert drawn.tolist() == [1, 1, 2, 2]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5, 0.3, 0.3])


def test_a_nucleus_smaller_than_any_token_keeps_the_most_probable():
    drawn, _ = tokens([0.2, 0.5, 0.3], [0.0, 0.99], top_p=0.01)
    assert drawn.tolist() == [1, 1]
