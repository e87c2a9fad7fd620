"""PPO by TRL: advantages against their definition, the gradient against our own learner, and runs by the command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr.advantages import gae
from tests.integrations.guesser import guesser_config
from tests.runs import azr, events, metrics, only_run

numbers = st.floats(-2, 2)
episodes = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.lists(numbers, min_size=n, max_size=n), st.lists(numbers, min_size=n, max_size=n))
)
shares = st.floats(0.1, 1)


def test_generalised_advantages_equal_the_table():
    # V = 0.5, 0.25 and r = 0, 1; gamma = 1, lambda = 0.5: delta_2 = 1 - 0.25, delta_1 = 0.25 - 0.5
    assert gae([0, 1], [0.5, 0.25], discount=1.0, gae_lambda=0.5) == pytest.approx([-0.25 + 0.5 * 0.75, 0.75])


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


GRADIENT = """
import sys, torch, warnings
torch.set_num_threads(1)
from azr.command import resolve
from azr.integrations.ppo_learner import TrlLearner
from azr.policy.base import Trainee
from azr.policy.load import load_model
from tests.policy.helpers import gradient, trainees
from transformers import TrainerCallback

config = resolve(sys.argv[1], ["algorithm.name=ppo", "learner.grad_clip=1e6", "learner.token_budget=1000",
    "learner.lr=1e-12", "selfplay.batch_size=3", "algorithm.kl_coefficient=0.1", "algorithm.entropy_coefficient=0.0"])
policy = load_model(config.model)
rollouts = [Trainee(t.prompt_ids, t.completion_ids, t.logprobs, (0.0,) * (len(t.logprobs) - 1) + (float(i % 3 - 1),))
    for i, t in enumerate(trainees(policy))]
ours_of = load_model(config.model)
learner = TrlLearner(policy, config, kinds=1)
taken = {}

class Keep(TrainerCallback):
    def on_pre_optimizer_step(self, *args, **options):
        taken.update({n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None})

learner._trainer.add_callback(Keep())
seen = {}
learner.update(rollouts, observe=lambda index, trace: seen.setdefault(index, trace))
assert len(seen) == len(rollouts) < learner._rows, (len(seen), learner._rows)
given = [Trainee(t.prompt_ids, t.completion_ids, tuple(seen[i].old.tolist()), tuple(seen[i].advantages.tolist()))
    for i, t in enumerate(rollouts)]
mine = gradient(ours_of, given, algorithm=config.algorithm.model_copy(update={"name": "trr++"}))
for name, tensor in mine.items():
    torch.testing.assert_close(taken[name], tensor, atol=1e-6, rtol=1e-4, msg=name)
print("the same", sum(t.abs().sum() for t in mine.values()) > 0)

def other(**changes):
    section = config.learner.model_copy(update=changes)
    return TrlLearner(policy, config.model_copy(update={"steps": 4, "learner": section}), kinds=1)

more, seen = other(token_budget=300), set()
many = rollouts * 3 + rollouts[:1]
more.update(many, observe=lambda index, trace: seen.add(index))
assert len(many) > more._rows and more._trainer.args.steps_per_generation > 1
print("all of them", seen == set(range(len(many))))

slower = other(schedule="inverse_sqrt", warmup_steps=1, hold_steps=2, epochs=2)
print("rates", [round(slower.update(rollouts)["lr"] / config.learner.lr, 4) for _ in range(4)])

wild = config.learner.model_copy(update={"lr": 1.0, "weight_decay": 1e30})
try:
    TrlLearner(policy, config.model_copy(update={"learner": wild}), kinds=1).update(rollouts)
except FloatingPointError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def said(guesser, tmp_path_factory) -> str:
    words = [sys.executable, "-c", GRADIENT, str(guesser_config(tmp_path_factory.mktemp("trl"), guesser, steps=1))]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_trl_takes_the_gradient_that_our_learner_takes_for_the_same_advantages(said):
    assert "the same tensor(True)" in said


@pytest.mark.slow
def test_a_step_with_more_rollouts_than_usual_is_learnt_whole(said):
    assert "all of them True" in said


@pytest.mark.slow
def test_the_learning_rate_is_the_runs_own_whatever_the_schedule(said):
    assert "rates [1.0, 1.0, 0.8165, 0.7071]" in said  # warm-up ends at once; square roots of 2/3, 2/4


@pytest.mark.slow
def test_a_step_of_trl_that_drives_weights_beyond_bounds_is_told(said):
    assert "update 0: the steps drove the weights beyond all bounds" in said


@pytest.fixture(scope="module")
def run(guesser, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ppo")
    words = ["algorithm.name=ppo", "algorithm.ppo.critic_lr=1e-3", "checkpoint.every=5", "learner.schedule=linear"]
    config = guesser_config(folder, guesser, steps=10)
    done = azr("train", config, *words, "--output-dir", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "out")


def rewards(run: Path) -> list[float]:
    found: dict[int, list[float]] = {}
    for event in events(run):
        if event["event"] == "reward":
            found.setdefault(event["step"], []).append(event["reward"])
    return [float(np.mean(found[step])) for step in sorted(found)]


@pytest.mark.slow
def test_the_reward_goes_up_by_ppo(run):
    by_step = rewards(run)
    assert np.mean(by_step[-3:]) > np.mean(by_step[:2]) + 0.1


@pytest.mark.slow
def test_a_ppo_run_has_the_directory_of_any_run(run):
    names = {path.name for path in run.iterdir()} - {".lock"}
    assert names == {"config.toml", "seed.jsonl", "events.jsonl", "metrics.jsonl", "checkpoints", "model"}
    for line in metrics(run):
        assert {"loss", "value_loss", "grad_norm", "entropy", "clip_share", "lr", "tokens"} <= set(line["learner"])


@pytest.mark.slow
def test_advantages_of_the_critic_are_written_down_and_whitened(run):
    from azr.report.ledger import ledger

    names = [event["id"] for event in events(run) if event["event"] == "reward" and event["step"] == 3]
    tokens = np.concatenate([ledger(run, name).passes[0].advantages for name in names])
    assert (tokens.mean(), tokens.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


@pytest.mark.slow
def test_a_resumed_ppo_run_goes_on_as_if_nothing_had_happened(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "000010")
    shutil.rmtree(copy / "model")
    done = azr("train", "--resume", copy, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("events.jsonl", "model/model.safetensors", "checkpoints/000010/trl.pt"):
        assert (copy / name).read_bytes() == (run / name).read_bytes(), name
    assert metrics(copy) == metrics(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "algorithm.aggregation=sequence_mean",
            "algorithm.aggregation = sequence_mean: algorithm.name = ppo runs in TRL",
        ),
        ("algorithm.importance_cap=2.0", "which knows only none; leave it out"),
        ("algorithm.kl_in=reward", "which knows only loss"),
        ("algorithm.kl_estimator=k1", "which knows only k3"),
    ],
)
def test_what_trl_does_not_have_is_one_line(guesser, tmp_path, word, expected):
    done = azr("train", guesser_config(tmp_path, guesser, steps=1), "algorithm.name=ppo", word, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr.strip().splitlines()[-1]


@pytest.mark.slow  # its model is taught first
def test_without_the_extra_ppo_says_how_to_install_it(guesser, tmp_path):
    code = (
        "import sys\nsys.modules['trl'] = None\nfrom azr.cli import main\n"
        f"sys.argv = ['azr', 'train', {str(guesser_config(tmp_path, guesser, steps=1))!r}, 'algorithm.name=ppo']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "algorithm.name = ppo needs the extra `trl`" in line
    assert "pip install 'azr[trl]'" in line
