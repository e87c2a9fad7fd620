"""A checkpoint goes from one number of ranks to another."""

import os
import signal

import numpy as np
import pytest
import torch

from azr.distributed.follow import follow
from azr.learn.optimizer import local
from azr.run.checkpoint import Checkpoints, State
from tests.distributed.groups import together
from tests.distributed.learning import lead, make_learner, rollouts, weights


@pytest.fixture(scope="module")
def samples(folders):
    return rollouts(folders["qwen2"])


def whole_moments(learner):
    """Adam's moments of all weights, gathered: by weight, both moments and the number of steps."""
    found = {}
    for i, (name, parameter) in enumerate(zip(learner._names, learner._optimizer.parameters, strict=True)):
        state = learner._optimizer.state()["adam"]["state"].get(i, {})
        for key in ("exp_avg", "exp_avg_sq"):
            parts = learner._ranks.gather(state[key].clone().numpy())
            whole = np.concatenate(parts) if hasattr(parameter, "to_local") else parts[0]
            found[name, key] = whole
        found[name, "step"] = float(state["step"])
    return found


def train_and_save(ranks, model, samples, options, source, target, count):
    """Load a checkpoint if there is one, take steps, save: state as loaded, rates of the steps, state as saved."""
    policy, learner = make_learner(ranks, model, **options)
    calls = {**learner.calls, "moments": lambda: whole_moments(learner)}

    def state():
        ranks.call("moments")
        return whole_moments(learner) | {(name, "weight"): array for name, array in weights(policy).items()}

    def work():
        if source:
            learner.load(source)
        loaded = state() if source else None
        rates = [learner._update(samples, False).metrics["lr"] for _ in range(count)]
        target.mkdir()
        learner.save(target)
        return loaded, rates, state()

    return lead(ranks, calls, work)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "lora"), [("float32", 0), ("bfloat16", 0), ("float32", 4)])
def test_a_checkpoint_goes_from_two_ranks_to_one_and_to_three(folders, samples, tmp_path, dtype, lora):
    model, options = folders["qwen2"], {"model": {"dtype": dtype}, "lora": lora}
    first, second, third = (tmp_path / name for name in ("two", "one", "three"))
    _, rates_2, saved_2 = together(2, "sharded", train_and_save, model, samples, options, None, first, 2)[0]
    loaded_1, rates_1, saved_1 = together(1, "", train_and_save, model, samples, options, first, second, 2)[0]
    loaded_3, rates_3, _ = together(3, "sharded", train_and_save, model, samples, options, second, third, 2)[0]
    assert_same(loaded_1, saved_2)
    assert_same(loaded_3, saved_1)
    assert rates_2 + rates_1 + rates_3 == [5e-4, 1e-3, 1e-3, *(1e-3 * (1 - i / 7) for i in (1, 2, 3))]


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, err_msg=str(key))


@pytest.mark.slow
def test_replicated_ranks_write_the_checkpoint_of_one_process(folders, samples, tmp_path):
    model, options = folders["qwen2"], {}
    for size, name in ((2, "two"), (1, "one")):
        together(size, "replicated", train_and_save, model, samples, options, None, tmp_path / name, 1)
    listed = [
        sorted(str(p.relative_to(tmp_path / name)) for p in (tmp_path / name).rglob("*")) for name in ("two", "one")
    ]
    assert listed[0] == listed[1]


def save_and_die(ranks, model, samples, run, victim):
    """Save twice; the victim is killed in the middle of the second time."""
    _, learner = make_learner(ranks, model)
    checkpoints = Checkpoints(run, keep=2)

    def save_once():
        if ranks.rank == 0:
            checkpoints.save(State(learner.updates, {}), [], learner.save)

    def work():
        for _ in range(2):
            learner._update(samples, False)
            save_once()

    if ranks.rank == victim:
        from torch.distributed.checkpoint import filesystem

        plain = filesystem.FileSystemWriter.write_data

        def write_data(self, *arguments):
            written = plain(self, *arguments)
            if learner.updates == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return written

        filesystem.FileSystemWriter.write_data = write_data
    if ranks.rank == 0:
        work()
    else:
        follow(ranks, learner.calls)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_while_saving_leaves_the_checkpoint_before(folders, samples, tmp_path, victim):
    together(2, "sharded", save_and_die, folders["qwen2"], samples, tmp_path, victim, fails=True)
    newest = Checkpoints(tmp_path, keep=2).newest()
    assert newest.name == "000001"
    assert not (tmp_path / "checkpoints" / "000002").exists()
    together(1, "", load_only, folders["qwen2"], newest)


def load_only(ranks, model, folder):
    _, learner = make_learner(ranks, model)
    learner.load(folder)
    assert learner.updates == 1
    assert all(torch.isfinite(local(p)).all() for p in learner._optimizer.parameters)
