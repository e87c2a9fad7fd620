"""Runs that sample on vLLM servers: what is trained on, and what happens when servers die."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.rollout.vllm.fake import FakeVLLM, serving
from tests.runs import azr, events, metrics, only_run, tiny_config

SMALL = [
    *('domain.kinds=["deduction"]', "selfplay.batch_size=2", "selfplay.samples=2", "selfplay.seed_factor=1"),
    *("generation.max_propose_tokens=40", "generation.max_solve_tokens=20", "output_dir=runs"),
]


@pytest.fixture
def train(apprentice, tmp_path):
    """Start a short run on servers; what it said, and its folder."""

    def start(*fakes: FakeVLLM, words: Sequence[str] = ()):
        words = [*SMALL, f"generation.urls={','.join(fake.url for fake in fakes)}", *words]
        done = azr("train", tiny_config(tmp_path, apprentice), *words, cwd=tmp_path)
        return done, only_run(tmp_path / "runs")

    return start


def dies_in_step(fake: FakeVLLM, step: int) -> None:
    """Let a server die with the second request for a sample after it got the weights of the step before."""
    since: list[int] = []

    def look(number: int) -> None:
        if fake.label.endswith(f"-{step - 1}"):
            since.append(number)
        if len(since) == 3:  # the probe is the first
            fake.die()

    fake.before_sample = look


def whole(run: Path, steps: int, stale: int = 0) -> None:
    """Every rollout of every step is there once, from the newest weights or some that are that much older."""
    for step in range(1, steps + 1):
        written = [event for event in events(run) if event["step"] == step]
        drawn = [event for event in written if event["event"] in ("proposal", "attempt")]
        assert set(Counter(event["id"] for event in drawn).values()) == {1}
        assert sum(event["event"] == "proposal" for event in drawn) == 2
        assert {event["version"] for event in drawn} <= {*range(max(0, step - 1 - stale), step)}
        rewarded = [event["id"] for event in written if event["event"] == "reward"]
        assert len(rewarded) == len(set(rewarded)) > 0
    assert [line["step"] for line in metrics(run) if "learner" in line] == [*range(1, steps + 1)]


def test_the_learner_sees_the_samplers_logprobs(apprentice, train):
    with serving(apprentice) as fakes:
        done, run = train(*fakes)
    assert done.returncode == 0, done.stderr
    whole(run, steps=3)
    mismatch = [line["learner"]["mismatch_kl"] for line in metrics(run) if "learner" in line]
    assert max(mismatch) < 1e-6


def test_a_server_that_dies_within_a_step_is_replaced_by_the_other(apprentice, train):
    with serving(apprentice, count=2) as [first, second]:
        dies_in_step(first, 2)
        done, run = train(first, second)
        assert first.dead
    assert done.returncode == 0, done.stderr
    assert f"vLLM at {first.url} is lost" in done.stderr
    whole(run, steps=3)


@pytest.mark.parametrize("stale", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_steps_begin_while_the_learner_works_and_are_as_stale_as_allowed(apprentice, train, stale):
    with serving(apprentice, count=2) as fakes:
        done, run = train(*fakes, words=["steps=4", f"generation.max_staleness={stale}"])
    assert done.returncode == 0, done.stderr
    whole(run, steps=4, stale=stale)
    learner = [line["learner"] for line in metrics(run) if "learner" in line]
    missed = [line["staleness"] for line in learner]
    assert missed[0] == 0
    assert 0 < max(missed) <= stale
    found = {event["step"] - 1 - event["version"] for event in events(run) if event["event"] == "proposal"} - {-1}
    assert max(found) <= stale


def test_without_servers_the_run_ends_in_one_line_and_goes_on_when_there_are_some(apprentice, train, tmp_path):
    with serving(apprentice, count=2) as fakes:
        for fake in fakes:
            dies_in_step(fake, 2)
        done, run = train(*fakes)
    assert done.returncode == 2
    *lost, last = done.stderr.strip().splitlines()
    assert all("is lost" in line for line in lost)
    assert last.startswith("azr: error: no vLLM server is left")
    assert "azr train --resume RUN" in last
    with serving(apprentice) as [fresh]:
        done = azr("train", "--resume", run, f"generation.urls={fresh.url}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole(run, steps=3)
