"""What must hold for any simulated run, and costs computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_events import simulate
from scaling_model import Cluster, Speed, Workload, sync_seconds, update_seconds

from azr.plan.assumed import lengths

SPEED = Speed(decode_base=0.01, decode_row=0.001, learn_token=0.0005, update=0.1, validate=0.05, verify=0.02)
LOAD = Workload(proposals=6, attempts=3, valid=0.5, propose_tokens=(5, 20, 90), solve_tokens=(3, 40, 200))
SPLIT = Cluster(generators=3, learners=1, colocated=False, rows=8, workers=2)

loads = st.builds(
    Workload,
    proposals=st.integers(1, 12),
    attempts=st.integers(1, 4),
    valid=st.floats(0, 1),
    propose_tokens=st.lists(st.integers(1, 300), min_size=1, max_size=5).map(tuple),
    solve_tokens=st.lists(st.integers(1, 300), min_size=1, max_size=5).map(tuple),
    prompt_tokens=st.integers(0, 50),
    learn_from_samples=st.booleans(),
)
clusters = st.builds(
    Cluster,
    generators=st.integers(1, 5),
    learners=st.integers(1, 3),
    colocated=st.booleans(),
    rows=st.integers(1, 9),
    workers=st.integers(1, 3),
    staleness=st.integers(0, 3),
)


# --- conservation ---


@given(load=loads)
@settings(max_examples=40, deadline=None)
def test_on_one_gpu_played_by_stages_the_stages_add_up_to_the_run(load):
    result = simulate(replace(load, barrier=True), SPEED, Cluster(workers=2), steps=3)
    assert sum(result.stages.values()) == pytest.approx(result.finished[-1])


@given(load=loads, cluster=clusters)
@settings(max_examples=40, deadline=None)
def test_every_rollout_that_is_started_is_sampled(load, cluster):
    result = simulate(load, SPEED, cluster, steps=3)
    valid = round(load.valid * load.proposals)
    attempts = load.proposals * load.attempts if load.learn_from_samples else valid * load.attempts + load.proposals
    assert (result.rollouts, result.submitted) == (3 * (load.proposals + attempts),) * 2


@given(load=loads, cluster=clusters)
@settings(max_examples=40, deadline=None)
def test_nothing_is_busier_than_all_the_time(load, cluster):
    result = simulate(load, SPEED, cluster, steps=4)
    shares = (result.generating, result.checking, result.learning, result.syncing)
    assert all(0 <= share <= 1 + 1e-9 for share in shares)


@given(load=loads, cluster=clusters)
@settings(max_examples=40, deadline=None)
def test_a_step_samples_the_same_tokens_in_every_layout(load, cluster):
    assert simulate(load, SPEED, cluster).tokens == simulate(load, SPEED, Cluster()).tokens


# --- staleness ---


@given(load=loads, cluster=clusters)
@settings(max_examples=60, deadline=None)
def test_no_rollout_is_staler_than_allowed(load, cluster):
    result = simulate(load, SPEED, cluster, steps=5)
    assert max(result.stale) <= (0 if cluster.colocated else cluster.staleness)


@pytest.mark.parametrize("staleness", [1, 2, 4])
def test_staleness_hides_the_update_behind_generation(staleness):
    slow = replace(SPEED, learn_token=0.002)
    waiting = simulate(LOAD, slow, SPLIT, steps=12)
    going_on = simulate(LOAD, slow, replace(SPLIT, staleness=staleness), steps=12)
    assert going_on.step < 0.9 * waiting.step


# --- more machines ---


@given(load=loads, cluster=clusters, more=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_more_generators_cost_no_more_than_one_rollout_if_weights_move_for_nothing(load, cluster, more):
    # A list schedule can become longer with more machines, but never by more than its longest job (Graham 1969).
    few = replace(cluster, staleness=0, colocated=False, workers=10**6)
    many = replace(few, generators=few.generators + more)
    longest = max(load.propose_tokens) + 2 * max(load.solve_tokens) + 3 * load.prompt_tokens
    row = replace(SPEED, decode_row=0.0)
    slack = longest * row.decode_base
    assert simulate(load, row, many).step <= simulate(load, row, few).step + slack


@pytest.mark.parametrize("generators", [1, 2, 4, 8])
def test_twice_the_generators_are_faster(generators):
    few = Cluster(generators=generators, learners=1, colocated=False, rows=1, workers=100)
    many = replace(few, generators=2 * generators)
    load = replace(LOAD, proposals=64)
    assert simulate(load, SPEED, many).step < simulate(load, SPEED, few).step


# --- by hand ---


def test_a_step_by_hand():
    # One proposal of 10 tokens, one task, two attempts of 4 tokens together: iterations of 0.01 + rows * 0.001.
    load = Workload(1, 2, 1.0, (10,), (4,), barrier=True)
    result = simulate(load, SPEED, Cluster(workers=1), steps=1)
    expected = {
        "propose": 10 * 0.011,
        "validate": 0.05,
        "solve": 4 * 0.012,
        "verify": 2 * 0.02,  # one worker
        "learn": 18 * 0.0005 + 0.1,
        "sync": 0.0,
    }
    assert result.stages == pytest.approx(expected)


def test_rows_beyond_the_limit_wait():
    load = Workload(4, 1, 0.0, (10,), (1,), learn_from_samples=False, barrier=True)
    wide = simulate(load, SPEED, Cluster(rows=4), steps=1).stages["propose"]
    narrow = simulate(load, SPEED, Cluster(rows=2), steps=1).stages["propose"]
    assert (wide, narrow) == pytest.approx((10 * 0.014, 2 * 10 * 0.012))


def test_a_prompt_is_read_once_for_all_attempts_at_its_task():
    load = Workload(1, 2, 1.0, (10,), (4,), prompt_tokens=100, barrier=True)
    speed = replace(SPEED, read=0.001)
    stages = simulate(load, speed, Cluster(), steps=1).stages
    assert stages["solve"] == pytest.approx(0.1 + 4 * 0.012)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, 8000 * 0.0005 + 0.1),
        # Computing 8000 / 4 * 0.0005 + 0.1 = 1.1 s. Two micro-batches of 1,000 tokens send 3 * 2 * 4e9 * 3/4 = 18e9 bytes.
        (4, 1.1 + 18e9 / 1e9 - 0.8 * 1.1),
        # 16 ranks span nodes: 8000 / 16 = 500 tokens in one micro-batch, 3 * 4e9 * 15/16 = 11.25e9 bytes at 1e8.
        (16, 0.35 + 11.25e9 / 1e8 - 0.8 * 0.35),
    ],
)
def test_an_update_by_hand(ranks, expected):
    load = replace(LOAD, token_budget=1000)
    cluster = Cluster(learners=ranks, node_bandwidth=1e9, network_bandwidth=1e8)
    speed = replace(SPEED, weight_bytes=4e9)
    assert update_seconds(8000, 100, load, speed, cluster) == pytest.approx(expected)


def test_an_update_is_not_faster_than_its_longest_sequence():
    cluster = Cluster(learners=64)
    assert update_seconds(8000, 5000, LOAD, SPEED, cluster) == pytest.approx(5000 * 0.0005 + 0.1)


@pytest.mark.parametrize(
    ("sync", "expected"),
    [("none", 0.0), ("nccl", 6e9 / 1e9), ("disk", (1 + 2) * 6e9 / 2e9 + 5.0)],
)
def test_sending_weights_by_hand(sync, expected):
    cluster = Cluster(generators=12, colocated=False, sync=sync, disk_bandwidth=2e9, network_bandwidth=1e9)
    assert sync_seconds(replace(SPEED, weight_bytes=6e9), cluster) == pytest.approx(expected)


def test_generators_stand_still_while_weights_are_sent():
    slow = replace(SPEED, weight_bytes=25e9, learn_token=0.0)  # one second over the network
    load = replace(LOAD, proposals=60)
    cluster = replace(SPLIT, generators=12, rows=1, workers=100, sync="nccl", staleness=2)
    still = simulate(load, slow, cluster, steps=9)
    free = simulate(load, slow, replace(cluster, sync="none"), steps=9)
    assert still.step - free.step > 0.8  # less than one: the generators are not busy all the time


def test_lengths_have_the_median_and_are_cut():
    tokens = lengths(600, 0.8, 2000)
    assert sorted(tokens)[len(tokens) // 2] == pytest.approx(600, rel=0.01)
    assert max(tokens) == 2000
