"""The ledger of a rollout against numbers worked out by hand, and against what a real run wrote down."""

from __future__ import annotations

import ast
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from azr.algorithms.advantages import Baseline
from azr.analysis.ledger import ledger
from azr.analysis.surrogate import passes
from azr.config import AlgorithmConfig
from azr.errors import UserError
from azr.learn.base import Trace
from azr.report.explain import differing, show, token_decoder
from azr.run.events import pack, token_events, unpack
from azr.types import Rollout, Sample, Verdict
from tests.runs import azr, events, only_run, tiny_config

CONFIG = """
steps = 1
[model]
name = "none"
[domain]
name = "python"
[rewards]
profile = "{profile}"
[algorithm]
{algorithm}
"""
NAMES = ["1/propose/deduction/0000", *(f"1/solve/deduction/0000/{a}" for a in range(4)), "1/propose/deduction/0001"]
BASELINE = {"of": "some rollouts", "n": 7, "mean": 0.5, "deviation": 0.25, "by_token": False}


def write_run(folder: Path, *, marks: str = "RRWB", profile: str = "paper", algorithm: str = "", penalty=0.0) -> Path:
    """A step of two proposals: the first is accepted and attempted (R right, W wrong, B badly formed), the second not."""
    (folder / "config.toml").write_text(CONFIG.format(profile=profile, algorithm=algorithm))
    verdicts = {"R": (True, 1.0, "correct"), "W": (True, 0.0, "wrong"), "B": (False, 0.0, "no_answer")}
    accepted, rejected = (True, 1.0, "accepted"), (True, 0.0, "syntax")
    judged = dict(zip(NAMES, [accepted, *(verdicts[mark] for mark in marks), rejected], strict=True))
    tokens = dict(zip(NAMES, [2, 1, 1, 2, 4, 3], strict=True))
    lines = []
    for name, (well_formed, score, reason) in judged.items():
        kind = "proposal" if "propose" in name else "attempt"
        about = {"id": name, "step": 1, "kind": "deduction", "text": "[b]text[/b]", "finished": True, "task": "t"}
        lines.append({"event": kind, **about, "tokens": tokens[name]})
        said = {"well_formed": well_formed, "score": score, "reason": reason, "detail": ""}
        lines.append({"event": "verdict", "step": 1, "id": name, **said})
    task = {"event": "task", "step": 1, "proposal": NAMES[0], "task": {"id": "t"}}
    lines.append(task | {"intrinsic": {"complexity": 0.0, "novelty": 0.5, "diversity": 0.0}})
    for name in NAMES:
        lines.append({"event": "reward", "step": 1, "id": name, "reward": 0.0})
        said = {"penalty": penalty, "advantage": 0.75, "baseline": BASELINE}
        lines.append({"event": "advantage", "step": 1, "id": name, **said})
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def account(folder: Path, name: str, of: str = "run", **options):
    found = ledger(write_run(folder, **options), name)
    return next(account for account in found.accounts if account.profile == of)


# Rewards and baselines by hand


def test_a_proposals_reward_follows_from_its_attempts(tmp_path):
    found = account(tmp_path, NAMES[0])  # two of four right
    assert (found.role_reward, found.reward) == (0.5, 0.5)
    assert found.rule == "an accepted proposal earns its role's reward"


@pytest.mark.parametrize(
    ("name", "reward", "rule"),
    [
        (NAMES[1], 1.0, "a right answer earns its role's reward"),
        (NAMES[3], -0.5, "a wrong, well formed answer earns -0.5"),
        (NAMES[4], -1.0, "a badly formed answer earns -1"),
        (NAMES[5], -1.0, "an invalid proposal earns -1"),
    ],
)
def test_the_line_of_eq_6_that_decided_is_named(tmp_path, name, reward, rule):
    found = account(tmp_path, name)
    assert (found.reward, found.rule) == (reward, rule)


def test_the_runs_baseline_and_advantage_are_those_that_it_wrote_down(tmp_path):
    found = account(tmp_path, NAMES[1])
    assert (found.baseline, found.advantage) == (Baseline(**BASELINE), 0.75)


def test_a_log_without_baselines_is_explained_without_them(tmp_path):
    log = write_run(tmp_path) / "events.jsonl"
    log.write_text(log.read_text().replace(f', "baseline": {json.dumps(BASELINE)}', ""))
    assert ledger(tmp_path, NAMES[1]).accounts[0].baseline is None


def test_the_papers_baseline_is_the_cells(tmp_path):
    found = account(tmp_path, NAMES[1], "paper")  # 1, 1, -0.5, -1: mean 0.125, variance 0.796875
    assert (found.baseline.n, found.baseline.mean) == (4, 0.125)
    assert found.baseline.deviation == pytest.approx(0.796875**0.5)
    assert found.advantage == pytest.approx(0.875 / 0.796875**0.5)


def test_the_reference_profile_weighs_tokens(tmp_path):
    found = account(tmp_path, NAMES[1], "reference")
    rewards = np.repeat([1.0, 1.0, -0.5, -1.0], [1, 1, 2, 4])  # tokens of the four attempts
    assert found.baseline.mean == pytest.approx(rewards.mean())
    assert found.baseline.deviation == pytest.approx(rewards.std(ddof=1))
    assert found.advantage == pytest.approx((1 - rewards.mean()) / rewards.std(ddof=1))


def test_the_profiles_differ_on_a_proposal_that_nobody_solves(tmp_path):
    assert account(tmp_path, NAMES[0], "paper", marks="WWWB").reward == 0.0
    assert account(tmp_path, NAMES[0], "reference", marks="WWWB").reward == -0.5


def test_the_runs_own_profile_is_the_configured_one(tmp_path):
    assert account(tmp_path, NAMES[0], "run", marks="RRRR", profile="reference").reward == -0.5


def test_intrinsic_rewards_are_added(tmp_path):
    algorithm = "[rewards.novelty]\ncoefficient = 0.2"
    found = account(tmp_path, NAMES[0], algorithm=algorithm)
    assert (found.intrinsic, found.reward) == (pytest.approx(0.1), pytest.approx(0.6))


def test_the_divergence_is_taken_off_before_the_baseline(tmp_path):
    found = ledger(write_run(tmp_path, penalty=0.25), NAMES[1])
    assert found.penalty == 0.25
    assert [account.reward for account in found.accounts] == [1.0] * 3
    assert found.accounts[1].baseline.mean == pytest.approx(0.125 - 0.25)


# Tokens by hand


def seen(ratio, advantage, *, sampler=0.0, reference=None, **algorithm):
    """The pass over one token that the sampler drew at probability 1/2; `sampler` is log pi_old - log pi_sampler."""
    old = np.float32(np.log(0.5) + sampler)
    new = np.float32(old + np.log(ratio))
    other = None if reference is None else np.array([new + reference], np.float32)
    trace = Trace(np.array([new]), np.array([old]), 0.25, other)
    sample = Sample((1,), (7,), (float(np.log(0.5)),), "x", True)
    rollout = Rollout("r", ("solve", "deduction"), "g", sample, Verdict(True, 1.0, ""), 1.0)
    (event,) = token_events(1, [rollout], [np.array([advantage])], [[trace]])
    (found,) = passes(json.loads(json.dumps(event)), AlgorithmConfig(**algorithm))
    return found


@pytest.mark.parametrize(
    ("ratio", "advantage", "options", "push"),
    [
        (1.0, 2.0, {}, 0.25 * 2.0),
        (1.1, -2.0, {}, 0.25 * 1.1 * -2.0),
        (1.5, 2.0, {}, 0.0),  # clipped above
        (0.5, -2.0, {}, 0.0),  # clipped below
        (0.5, 2.0, {}, 0.25 * 0.5 * 2.0),
        (1.25, 2.0, {"clip_high": 0.28}, 0.25 * 1.25 * 2.0),
        (4.0, -2.0, {"dual_clip": 3.0}, 0.0),
        (1.0, 2.0, {"sampler": 1.0, "importance_cap": 2.0}, 0.25 * 2.0 * 2.0),  # e > 2: capped
        (1.0, 2.0, {"sampler": -1.0, "importance_cap": 2.0}, 0.25 * np.exp(-1) * 2.0),
        (1.0, 2.0, {"reference": 0.5, "kl_coefficient": 0.1, "kl_estimator": "k1"}, 0.25 * (2.0 - 0.1)),
        (1.0, 2.0, {"reference": 0.5, "kl_coefficient": 0.1, "kl_estimator": "k2"}, 0.25 * (2.0 + 0.05)),
        (1.0, 2.0, {"reference": 0.5, "kl_coefficient": 0.1}, 0.25 * (2.0 + 0.1 * np.expm1(0.5))),
    ],
)
def test_the_push_on_a_token_is_minus_the_derivative_of_the_loss(ratio, advantage, options, push):
    assert seen(ratio, advantage, **options).push[0] == pytest.approx(push, rel=1e-5)


def test_what_is_packed_comes_back():
    assert unpack(pack([1, 70_000], np.int32), np.int32).tolist() == [1, 70_000]
    assert unpack(pack([-0.5, 0.25], np.float32), np.float32).tolist() == [-0.5, 0.25]


def test_token_events_cost_what_the_configuration_says():
    trace = Trace(np.zeros(1000, np.float32), np.zeros(1000, np.float32), 0.1)
    sample = Sample((1,), (1,) * 1000, (0.0,) * 1000, "x", True)
    rollout = Rollout("r", ("solve", "deduction"), "g", sample, Verdict(True, 1.0, ""), 1.0)
    (event,) = token_events(1, [rollout], [np.zeros(1000)], [[trace]])
    assert len(json.dumps(event)) / 1000 == pytest.approx(14, abs=0.6)


# A real run


@pytest.fixture(scope="module")
def run(apprentice, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    words = ["learner.epochs=2", "learner.lr=0.003", "algorithm.kl_coefficient=0.05", "events.tokens_every=2"]
    done = azr("train", tiny_config(folder, apprentice, steps=2), *words, "--output-dir", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return only_run(folder / "out")


def learnt(run: Path, step: int) -> list[str]:
    return [event["id"] for event in events(run) if event["event"] == "reward" and event["step"] == step]


def test_every_ledger_agrees_with_what_the_run_wrote_down(run):
    for name in learnt(run, 2):
        found = ledger(run, name)
        own, paper, _ = found.accounts  # the run is one by the paper
        assert own.reward == pytest.approx(found.recorded["reward"])
        assert paper.advantage == pytest.approx(own.advantage)
        assert paper.baseline.mean == pytest.approx(own.baseline.mean)


def test_the_share_clipped_in_a_step_is_that_of_its_tokens(run):
    (update,) = [event for event in events(run) if event["event"] == "update" and event["step"] == 2]
    cuts = [seen.cut for name in learnt(run, 2) for seen in ledger(run, name).passes]
    assert update["clip_share"] > 0
    assert np.concatenate(cuts).mean() == pytest.approx(update["clip_share"], abs=1e-9)


def test_the_largest_ratio_of_a_step_is_that_of_its_tokens(run):
    (update,) = [event for event in events(run) if event["event"] == "update" and event["step"] == 2]
    ratios = [seen.ratio.max() for name in learnt(run, 2) for seen in ledger(run, name).passes]
    assert max(ratios) == pytest.approx(update["ratio_max"], rel=1e-5)


def test_token_texts_make_up_the_text(run):
    decode = token_decoder(run)
    found = ledger(run, next(name for name in learnt(run, 2) if ledger(run, name).finished))
    texts = [ast.literal_eval(decode(int(token))) for token in found.passes[0].ids]
    assert "".join(texts[:-1]) == found.text


def test_steps_without_token_events_are_explained_up_to_the_advantage(run):
    found = ledger(run, learnt(run, 1)[0])
    assert found.passes == ()
    assert found.accounts[0].advantage == pytest.approx(found.recorded["advantage"])


def test_the_command_prints_the_ledger(run, tmp_path):
    name = next(name for name in learnt(run, 2) if differing(ledger(run, name)))
    done = azr(
        "explain", run, name, "--tokens", 3, cwd=tmp_path, env={**os.environ, "COLUMNS": "160"}
    )  # wraps no words
    assert done.returncode == 0, done.stderr
    for words in ("(Eq. 6)", "baseline", "n = ", "A = (r - mu_cell) / sigma_cell", "pass 2 of 2", "ratio", "paper"):
        assert words in done.stdout


@pytest.mark.parametrize("name", ["nothing", "1/solve", "99/solve/deduction/0000/0"])
def test_a_rollout_that_is_not_there_is_one_line_with_one_that_is(run, tmp_path, name):
    done = azr("explain", run, name, cwd=tmp_path)
    assert done.returncode == 2
    assert f"no rollout {name} was learnt from; there is, for example, 1/" in done.stderr


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="it is not a run"):
        ledger(tmp_path, "1/solve/deduction/0000/0")


def printed(folder: Path, name: str, **options) -> str:
    out = io.StringIO()
    show(ledger(write_run(folder, **options), name), Console(file=out, width=200), tokens=0, decode=str)
    return out.getvalue()


def test_the_models_text_is_shown_as_it_is(tmp_path):
    assert "[b]text[/b]" in printed(tmp_path, NAMES[1])


def test_profiles_that_agree_are_not_set_side_by_side(tmp_path):
    found = ledger(write_run(tmp_path, marks="RRRR"), NAMES[1])
    assert differing(found) == []


def test_profiles_that_differ_are_set_side_by_side(tmp_path):
    said = printed(tmp_path, NAMES[0], marks="WWWB")
    assert "where the profiles differ" in said
    assert "a proposal that none or all solve earns -0.5" in said


def test_a_line_that_somebody_spoilt_does_no_harm_to_the_others(tmp_path):
    log = write_run(tmp_path) / "events.jsonl"
    log.write_bytes(b'{"event": "verdict", "step": 1, broken\n\xff "step": 1, \n' + log.read_bytes())
    assert ledger(tmp_path, NAMES[1]).verdict.reason == "correct"


def test_a_step_whose_events_are_not_all_there_is_told(tmp_path):
    log = write_run(tmp_path) / "events.jsonl"
    log.write_text("".join(one for one in log.read_text().splitlines(keepends=True) if '"event": "verdict"' not in one))
    with pytest.raises(UserError, match=r"events\.jsonl: the events of step 1 are incomplete"):
        ledger(tmp_path, NAMES[1])


def test_a_run_that_has_learnt_nothing_yet_is_told(tmp_path):
    (write_run(tmp_path) / "events.jsonl").unlink()
    with pytest.raises(UserError, match="was learnt from; nor was any other yet"):
        ledger(tmp_path, NAMES[1])


def test_a_tokenizer_that_somebody_spoilt_is_told(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"model/tokenizer\.json: not a tokenizer"):
        token_decoder(tmp_path)


def test_a_text_that_the_terminal_cannot_show_comes_as_its_escape(tmp_path):
    log = write_run(tmp_path) / "events.jsonl"
    log.write_text(log.read_text().replace("[b]text[/b]", r"\ud800\u2026"))
    done = azr("explain", tmp_path, NAMES[1], cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"}, fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\ud800\u2026" in done.stdout


@pytest.mark.parametrize(
    ("agreed", "expected"),
    [(True, "passed the model's own check"), (False, "the last guess, which is not checked")],
)
def test_an_attempt_that_searched_tells_its_guesses(tmp_path, agreed, expected):
    log = write_run(tmp_path) / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["event"] == "attempt":
            line |= {"rejected": ["a", "b"], "agreed": agreed}
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    said = io.StringIO()
    show(ledger(tmp_path, NAMES[1]), Console(file=said, width=200), tokens=0, decode=str)
    assert re.search(rf"guess +3 +{expected}", said.getvalue())
