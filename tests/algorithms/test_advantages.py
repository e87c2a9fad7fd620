"""Every algorithm's advantages against tables worked out by hand, and what must hold for any rewards."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from azr.algorithms.advantages import gae
from azr.algorithms.advantages import prompts as prompt_groups
from azr.algorithms.registry import ALGORITHMS
from azr.config import AlgorithmConfig, PPOConfig
from azr.types import Role
from tests.rollouts import make_rollout

PROMPT_BASED = ["grpo", "rloo", "dr-grpo"]
COMPARING = [
    AlgorithmConfig(),
    AlgorithmConfig(whiten="token"),
    AlgorithmConfig(name="reinforce++"),
    AlgorithmConfig(name="reinforce++", whiten="token"),
    *(AlgorithmConfig(name=name) for name in PROMPT_BASED),
]
algorithms = st.sampled_from(COMPARING)

# Multiples of 1/8: sums of them are exact, so that a table or a shift can be compared to the last digits.
rewards = st.integers(-8, 8).map(lambda eighths: eighths / 8)
cells = st.tuples(st.sampled_from(list(Role)), st.sampled_from(["deduction", "abduction", "induction"]))
prompts = st.sampled_from(["1st", "2nd", "3rd"])
batches = st.lists(st.tuples(rewards, cells, st.integers(1, 9), prompts), min_size=1, max_size=40)


def make_batch(rows):
    return [
        make_rollout(reward, role=role, kind=kind, tokens=tokens, group=f"{role}/{kind}/{prompt}")
        for reward, (role, kind), tokens, prompt in rows
    ]


def advantages(batch, config):
    return [estimate.advantages_T for estimate in ALGORITHMS[config.name].estimate(batch, config)]


def trr_plus_plus(batch, *, whiten):
    return advantages(batch, AlgorithmConfig(whiten=whiten))


def per_rollout(found):
    return np.array([advantages_T[0] for advantages_T in found])


def of(name, batch):
    return per_rollout(advantages(batch, AlgorithmConfig(name=name)))


def two_prompts():
    """Rewards 1, 0, -1 for one prompt and 1, 0.5 for another."""
    rows = [(1.0, "p"), (0.0, "p"), (-1.0, "p"), (1.0, "q"), (0.5, "q")]
    return [make_rollout(reward, group=group) for reward, group in rows]


# Tables


def test_trr_by_rollout_equals_the_table():
    # one cell: rewards 1, 1, -0.5, -1 -> mean 0.125, population variance 0.796875
    batch = [make_rollout(reward) for reward in (1.0, 1.0, -0.5, -1.0)]
    expected = (np.array([1.0, 1.0, -0.5, -1.0]) - 0.125) / np.sqrt(0.796875)
    assert per_rollout(trr_plus_plus(batch, whiten="rollout")) == pytest.approx(expected)


def test_trr_by_token_weighs_long_responses_more():
    # tokens 1 and 3: token rewards 1, 0, 0, 0 -> mean 0.25, Bessel variance 0.75 / 3 = 0.25, deviation 0.5
    batch = [make_rollout(1.0, tokens=1), make_rollout(0.0, tokens=3)]
    assert per_rollout(trr_plus_plus(batch, whiten="token")) == pytest.approx([1.5, -0.5])


def test_trr_gives_each_role_and_kind_its_own_baseline():
    batch = [
        make_rollout(1.0, role=Role.SOLVE, kind="deduction"),
        make_rollout(0.0, role=Role.SOLVE, kind="deduction"),
        make_rollout(0.5, role=Role.PROPOSE, kind="deduction"),
        make_rollout(-1.0, role=Role.PROPOSE, kind="deduction"),
        make_rollout(9.0, role=Role.SOLVE, kind="induction"),
        make_rollout(7.0, role=Role.SOLVE, kind="induction"),
    ]
    assert of("trr++", batch) == pytest.approx([1, -1, 1, -1, 1, -1])


def test_reinforce_has_one_baseline_for_all_cells():
    # rewards 3, 1, -1, -3: mean 0, population variance 5
    batch = [
        make_rollout(3.0, role=Role.SOLVE),
        make_rollout(1.0, role=Role.SOLVE),
        make_rollout(-1.0, role=Role.PROPOSE, kind="induction"),
        make_rollout(-3.0, role=Role.PROPOSE, kind="abduction"),
    ]
    assert of("reinforce++", batch) == pytest.approx(np.array([3, 1, -1, -3]) / np.sqrt(5))


def test_reinforce_by_token_equals_the_table():
    # as for TRR++ by token, but the two rollouts are of different cells
    batch = [make_rollout(1.0, tokens=1), make_rollout(0.0, tokens=3, role=Role.PROPOSE)]
    found = advantages(batch, AlgorithmConfig(name="reinforce++", whiten="token"))
    assert per_rollout(found) == pytest.approx([1.5, -0.5])


def test_grpo_compares_within_a_prompt():
    # 1, 0, -1: mean 0, deviation sqrt(2/3); 1, 0.5: mean 0.75, deviation 0.25
    assert of("grpo", two_prompts()) == pytest.approx([np.sqrt(1.5), 0, -np.sqrt(1.5), 1, -1])


def test_rloo_compares_with_the_mean_of_the_others():
    # 1 - (0 - 1) / 2, 0 - (1 - 1) / 2, -1 - (1 + 0) / 2; 1 - 0.5, 0.5 - 1
    assert of("rloo", two_prompts()) == pytest.approx([1.5, 0, -1.5, 0.5, -0.5])


def test_dr_grpo_divides_by_no_deviation():
    assert of("dr-grpo", two_prompts()) == pytest.approx([1, 0, -1, 0.25, -0.25])


def test_generalised_advantages_equal_the_table():
    # V = 0.5, 0.25 and r = 0, 1; gamma = 1, lambda = 0.5: delta_2 = 1 - 0.25, delta_1 = 0.25 - 0.5
    assert gae([0, 1], [0.5, 0.25], discount=1.0, gae_lambda=0.5) == pytest.approx([-0.25 + 0.5 * 0.75, 0.75])


def test_a_discount_makes_later_values_count_less():
    # gamma = 0.5, lambda = 1: delta_2 = 1 - 0.25, delta_1 = 0.5 * 0.25 - 0.5, A_1 = delta_1 + 0.5 * delta_2
    assert gae([0, 1], [0.5, 0.25], discount=0.5, gae_lambda=1.0) == pytest.approx([-0.375 + 0.375, 0.75])


def test_ppo_has_the_reward_at_the_last_token_and_whitens_over_all_tokens():
    # lambda = 1: A = 1 - 0.5, 1 - 0.25 and 0 - 0.5; their mean is 0.25, their squared deviations sum to 0.875
    batch = [make_rollout(1.0, tokens=2), make_rollout(0.0, tokens=1)]
    config = AlgorithmConfig(name="ppo", ppo=PPOConfig(discount=1.0, gae_lambda=1.0))
    estimates = ALGORITHMS["ppo"].estimate(batch, config, [np.float32([0.5, 0.25]), np.float32([0.5])])
    found = [estimate.advantages_T for estimate in estimates]
    assert np.concatenate(found) == pytest.approx(np.array([0.25, 0.5, -0.75]) / np.sqrt(0.875 / 3))
    assert [len(advantages_T) for advantages_T in found] == [2, 1]
    assert [estimate.returns_T.tolist() for estimate in estimates] == [[1.0, 1.0], [0.0]]
    assert [estimate.baseline.mean for estimate in estimates] == [0.375, 0.5]


@pytest.mark.parametrize("name", PROMPT_BASED)
def test_prompts_that_were_sampled_once_are_compared_within_their_cell(name):
    proposals = [make_rollout(r, role=Role.PROPOSE, group=str(i)) for i, r in enumerate((1.0, 0.0, -1.0))]
    other = [make_rollout(9.0, role=Role.PROPOSE, kind="induction", group="x")]
    together = [make_rollout(r, role=Role.PROPOSE, group="one") for r in (1.0, 0.0, -1.0)]
    assert of(name, [*proposals, *other])[:3] == pytest.approx(of(name, together))
    assert of(name, [*proposals, *other])[3] == 0


@pytest.mark.parametrize(
    ("name", "of", "n", "mean", "deviation"),
    [
        ("trr++", "the cell (solve, deduction)", 5, 0.3, 0.56**0.5),
        ("reinforce++", "all rollouts of the step", 5, 0.3, 0.56**0.5),
        ("grpo", "its prompt's rollouts", 3, 0.0, (2 / 3) ** 0.5),
        ("rloo", "its prompt's rollouts", 3, -0.5, None),
        ("dr-grpo", "its prompt's rollouts", 3, 0.0, None),
    ],
)
def test_each_algorithm_says_what_it_compared_with(name, of, n, mean, deviation):
    # rewards 1, 0, -1 and 1, 0.5: mean 0.3, mean square 0.65
    baseline = ALGORITHMS[name].estimate(two_prompts(), AlgorithmConfig(name=name))[0].baseline
    assert (baseline.of, baseline.n, baseline.by_token) == (of, n, False)
    assert baseline.mean == pytest.approx(mean)
    assert baseline.deviation == (None if deviation is None else pytest.approx(deviation))


def test_a_baseline_by_token_weighs_long_responses_more():
    batch = [make_rollout(1.0, tokens=1), make_rollout(0.0, tokens=3)]
    baseline = ALGORITHMS["trr++"].estimate(batch, AlgorithmConfig(whiten="token"))[0].baseline
    assert (baseline.n, baseline.mean, baseline.deviation, baseline.by_token) == (2, 0.25, 0.5, True)


def test_a_prompt_that_was_sampled_once_has_its_cells_baseline():
    batch = [make_rollout(r, role=Role.PROPOSE, group=str(i)) for i, r in enumerate((1.0, 0.0))]
    baseline = ALGORITHMS["grpo"].estimate(batch, AlgorithmConfig(name="grpo"))[0].baseline
    assert baseline.of == "the cell (propose, deduction), as its prompt was sampled once"


def test_an_unknown_algorithm_is_refused_with_the_names_that_there_are():
    with pytest.raises(ValidationError, match=r"did you mean trr.*; registered are .*, grpo, rloo, dr-grpo, ppo"):
        AlgorithmConfig(name="trr")


@pytest.mark.parametrize(
    ("name", "aggregation"),
    [
        ("trr++", "token_mean"),
        ("reinforce++", "token_mean"),
        ("rloo", "token_mean"),
        ("grpo", "sequence_mean"),
        ("dr-grpo", "constant"),
    ],
)
def test_an_algorithm_has_its_own_aggregation_unless_one_is_set(name, aggregation):
    assert AlgorithmConfig(name=name).aggregation == aggregation
    assert AlgorithmConfig(name=name, aggregation="token_mean").aggregation == "token_mean"


def test_there_is_one_advantage_for_each_token():
    batch = [make_rollout(1.0, tokens=2), make_rollout(0.0, tokens=5)]
    assert [len(advantages_T) for advantages_T in trr_plus_plus(batch, whiten="rollout")] == [2, 5]


# Invariants

numbers = st.floats(-2, 2)
episodes = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.lists(numbers, min_size=n, max_size=n), st.lists(numbers, min_size=n, max_size=n))
)
shares = st.floats(0.1, 1)


@given(episodes, shares, shares)
def test_generalised_advantages_are_the_discounted_sum_of_errors(episode, discount, gae_lambda):
    rewards, values = episode
    after = [*values[1:], 0.0]
    deltas = [r + discount * later - v for r, v, later in zip(rewards, values, after, strict=True)]
    expected = [
        sum((discount * gae_lambda) ** (k - t) * deltas[k] for k in range(t, len(deltas))) for t in range(len(deltas))
    ]
    assert gae(rewards, values, discount=discount, gae_lambda=gae_lambda) == pytest.approx(expected, abs=1e-9)


@given(episodes)
def test_with_lambda_one_advantages_are_returns_less_values(episode):
    rewards, values = episode
    returns = np.cumsum(rewards[::-1])[::-1]
    assert gae(rewards, values, discount=1.0, gae_lambda=1.0) == pytest.approx(returns - values, abs=1e-9)


def sets(algorithm, batch):
    """What each algorithm compares: indices of the rollouts of one baseline."""
    if algorithm.name == "reinforce++":
        return [range(len(batch))]
    if algorithm.name in PROMPT_BASED:
        return [group.members for group in prompt_groups(batch)]
    members = defaultdict(list)
    for i, rollout in enumerate(batch):
        members[rollout.cell].append(i)
    return members.values()


@given(batches, algorithms)
def test_advantages_sum_to_zero_over_what_is_compared(rows, algorithm):
    batch = make_batch(rows)
    found = advantages(batch, algorithm)
    for members in sets(algorithm, batch):
        weigh = sum if algorithm.whiten == "token" else lambda advantages_T: advantages_T[0]
        assert sum(weigh(found[i]) for i in members) == pytest.approx(0, abs=1e-6)


@given(batches, st.integers(-5, 5), algorithms)
def test_a_shift_of_all_rewards_changes_nothing(rows, shift, algorithm):
    shifted = [(reward + shift, *rest) for reward, *rest in rows]
    before = per_rollout(advantages(make_batch(rows), algorithm))
    assert per_rollout(advantages(make_batch(shifted), algorithm)) == pytest.approx(before, abs=1e-6)


@given(batches, st.sampled_from([2.0, 4.0]), algorithms)
def test_only_algorithms_without_a_deviation_feel_the_scale_of_rewards(rows, scale, algorithm):
    scaled = [(reward * scale, *rest) for reward, *rest in rows]
    before = per_rollout(advantages(make_batch(rows), algorithm))
    factor = scale if algorithm.name in ("rloo", "dr-grpo") else 1.0
    assert per_rollout(advantages(make_batch(scaled), algorithm)) == pytest.approx(before * factor, abs=1e-6)


@given(batches, st.randoms(use_true_random=False), algorithms)
def test_the_order_of_completion_changes_no_advantage(rows, random, algorithm):
    order = list(range(len(rows)))
    random.shuffle(order)
    straight = per_rollout(advantages(make_batch(rows), algorithm))
    shuffled = per_rollout(advantages(make_batch([rows[i] for i in order]), algorithm))
    assert shuffled == pytest.approx(straight[order], abs=1e-12)


@given(rewards, st.integers(1, 8), algorithms)
def test_equal_rewards_teach_nothing(reward, count, algorithm):
    assert not per_rollout(advantages([make_rollout(reward)] * count, algorithm)).any()


@given(batches)
def test_leave_one_out_is_dr_grpo_stretched_by_n_over_n_minus_one(rows):
    batch = make_batch(rows)
    loo, plain = of("rloo", batch), of("dr-grpo", batch)
    for group in prompt_groups(batch):
        members, n = group.members, len(group.members)
        assert loo[members] == pytest.approx(plain[members] * (n / (n - 1) if n > 1 else 0), abs=1e-9)


@given(batches)
def test_every_rollout_is_in_one_prompt_group(rows):
    assert sorted(i for group in prompt_groups(make_batch(rows)) for i in group.members) == list(range(len(rows)))
