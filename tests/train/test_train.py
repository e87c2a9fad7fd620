"""The loop around the steps, with completions that the tests write: what is learnt, saved, kept and refused."""

from __future__ import annotations

import io
import tomllib

import pytest
from rich.console import Console

from azr.config import Config, ModelConfig
from azr.domains import registry
from azr.errors import UserError
from azr.learn.learner import PolicyLearner
from azr.models.load import load_model
from azr.run.directory import CONFIG, RunDirectory
from azr.settings import build, dump
from azr.train.screen import make_screen
from azr.train.trackers.feed import Feed
from azr.train.training import Training, TrainingParts
from tests.runs import events, metrics
from tests.scripted import ScriptedGenerator, plain
from tests.tiny import tiny_model


def configured(**sections) -> Config:
    tree = {
        "steps": 2,
        "model": {"name": "scripted"},
        "domain": {"name": "primes", "style": "compact", "kinds": ["deduction"]},
        "selfplay": {"batch_size": 2, "samples": 2, "seed_factor": 1, "references": 1, "seed_shortfall": "play_on"},
        "evaluation": {"tasks": 0},
    }
    changed = {
        key: {**tree.get(key, {}), **value} if isinstance(value, dict) else value for key, value in sections.items()
    }
    return build(tree | changed, registry.config_class, source="test")


async def train(run: RunDirectory, config: Config, learner=None, *, on_save=None, text="nonsense"):
    """Play the steps that are left; what the loop said is returned, and `on_save` gets the state of every checkpoint."""
    parts = TrainingParts(
        domain=registry.make_domain(config.domain, config.sandbox),
        generator=ScriptedGenerator(lambda key, prompt, row: text),
        learner=learner,
        sandbox=None,  # the domain of primes runs nothing
        render=plain,
        export=None,
    )
    said = io.StringIO()
    console = Console(file=said, width=200)
    with run, make_screen(config.steps, console) as screen, Feed({}, config, run.path, screen.say) as feed:
        training = Training(config, run, parts, screen, feed)
        if on_save is not None:
            keep = training._checkpoints.save
            training._checkpoints.save = lambda state, *rest: (on_save(state), keep(state, *rest))[1]
        await training.run()
    return said.getvalue()


def new_run(folder, config: Config) -> RunDirectory:
    return RunDirectory.create(folder, "run", dump(config))


async def test_a_step_that_leaves_nothing_to_learn_from_is_told_and_played_on(tmp_path):
    policy = load_model(ModelConfig(name=str(tiny_model(tmp_path / "m")), device="cpu"))
    config = configured(selfplay={"train_proposer": False, "solver_mix": "new_only"})
    learner = PolicyLearner(policy, config.learner, config.algorithm, temperature=1.0, total_steps=2, seed=0)
    run = new_run(tmp_path, config)
    await train(run, config, learner)
    assert [(line["kinds"]["deduction"]["valid"], line["learner"]) for line in metrics(run.path)] == [(0, {}), (0, {})]
    assert not [event for event in events(run.path) if event["event"] in ("reward", "update")]


async def test_every_step_is_saved_once_the_last_one_too(tmp_path):
    config, saved = configured(steps=4, selfplay={"learn": False}, checkpoint={"every": 2}), []
    await train(new_run(tmp_path, config), config, on_save=saved.append)
    assert [state.step for state in saved if state.seeding is None] == [0, 2, 4]


async def test_every_batch_of_seeds_is_saved(tmp_path):
    config, saved = configured(selfplay={"learn": False, "seed_attempts": 3}), []
    await train(new_run(tmp_path, config), config, on_save=saved.append)
    kinds = [state.seeding for state in saved if state.seeding]
    assert kinds == [{"deduction": {"no_answer": 2 * batches}} for batches in (1, 2, 3)]


@pytest.mark.parametrize("saves", [1, 2, 3, 4])
async def test_seeding_goes_on_from_the_batch_that_was_saved_last(tmp_path, saves):
    config = configured(selfplay={"learn": False, "seed_attempts": 3})
    whole, cut_off = (new_run(tmp_path / name, config) for name in ("whole", "cut_off"))
    await train(whole, config)
    left = iter(range(saves))

    class PowerCut(Exception):  # noqa: N818
        pass

    def fail_later(state):
        if next(left, None) is None:
            raise PowerCut

    with pytest.raises(PowerCut):
        await train(cut_off, config, on_save=fail_later)
    said = await train(cut_off, config)
    assert "resumed while seeding" in said
    assert "after 6 proposals (6 " in said
    assert (cut_off.path / "events.jsonl").read_bytes() == (whole.path / "events.jsonl").read_bytes()
    assert (cut_off.path / "seed.jsonl").read_bytes() == (whole.path / "seed.jsonl").read_bytes()


async def test_a_run_keeps_the_settings_that_it_went_on_with(tmp_path):
    config = configured(selfplay={"learn": False})
    run = new_run(tmp_path, config)
    await train(run, config)
    await train(run, configured(steps=3, selfplay={"learn": False}))
    assert tomllib.loads((run.path / CONFIG).read_text())["steps"] == 3


async def test_fewer_steps_than_were_done_are_refused_and_change_nothing(tmp_path):
    config = configured(selfplay={"learn": False})
    run = new_run(tmp_path, config)
    await train(run, config)
    before = (run.path / CONFIG).read_bytes(), events(run.path)
    with pytest.raises(UserError, match=r"steps = 1: .* has done 2; ask for more"):
        await train(run, configured(steps=1, selfplay={"learn": False}))
    assert ((run.path / CONFIG).read_bytes(), events(run.path)) == before


async def test_seeds_out_of_a_file_are_not_said_to_be_the_models(tmp_path):
    config = configured(selfplay={"learn": False})
    first = new_run(tmp_path, config)
    await train(first, config)
    again = configured(selfplay={"learn": False, "seed_file": str(first.path / "seed.jsonl")})
    said = await train(new_run(tmp_path, again), again)
    assert "seeded: 1 tasks from a file" in said


async def test_a_seed_file_that_holds_no_tasks_is_one_line(tmp_path):
    path = tmp_path / "seed.jsonl"
    path.write_text('{"kind": "deduction"}\n')
    config = configured(selfplay={"learn": False, "seed_file": str(path)})
    with pytest.raises(UserError, match=r"seed\.jsonl: not a file of seed tasks"):
        await train(new_run(tmp_path, config), config)
