"""How many processes share a run that is not told."""

import pytest

from azr.errors import UserError
from azr.train import ranks
from azr.train.ranks import processes
from azr.train.start import resolve


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ranks, "idle_cores", lambda: 4)


def test_two_processes_share_the_demo_where_cores_are_idle():
    assert processes(resolve("demo", [])) == 2


@pytest.mark.parametrize("idle", [0, 1])
def test_one_process_runs_the_demo_where_no_second_core_is_idle(monkeypatch, idle):
    monkeypatch.setattr(ranks, "idle_cores", lambda: idle)
    assert processes(resolve("demo", [])) == 1


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_that_is_set_is_taken(number):
    assert processes(resolve("demo", [f"learner.processes={number}"])) == number


@pytest.mark.parametrize(
    "word",
    [
        "threads=1",
        "selfplay.learn=false",
        "generation.urls=http://127.0.0.1:1",
        "model.name=some/hub-model",
    ],
)
def test_one_process_runs_what_is_given_threads_or_is_elsewhere_or_unknown(word):
    assert processes(resolve("demo", [word])) == 1


def test_omp_num_threads_means_one_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert processes(resolve("demo", [])) == 1


def test_a_larger_model_uses_threads_instead(monkeypatch):
    monkeypatch.setattr(ranks, "SMALL", 800_000)
    assert processes(resolve("demo", [])) == 1


def test_a_folder_without_weights_is_left_to_the_loader(tmp_path):
    assert processes(resolve("demo", [f"model.name={tmp_path}"])) == 1


def test_a_device_that_is_not_there_is_an_error_at_once():
    with pytest.raises(UserError, match=r"model\.device = cuda"):
        processes(resolve("demo", ["model.device=cuda"]))
