"""How many threads torch gets, and how many cores are idle."""

from __future__ import annotations

import os

import pytest

from azr.models import threads as models_threads
from azr.models.threads import SMALL, idle_cores, threads


def test_omp_num_threads_decides(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads(SMALL) == threads(1) == 7


def test_a_small_model_computes_on_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL - 1) == 1


@pytest.mark.parametrize("value", [None, "", "0", "4,2"])
def test_a_large_model_gets_one_thread_per_core_of_this_process(monkeypatch, value):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL) == 3


def test_without_affinity_every_core_of_the_machine_counts(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert threads(SMALL) == 10


def loads(monkeypatch, *wanting):
    """Let the kernel tell these numbers of threads that want to run, one after another."""
    texts = [f"0.50 0.40 0.30 {number}/99 4711" for number in wanting]

    class Load:
        def read_text(self):
            return texts.pop(0)

    monkeypatch.setattr(models_threads, "_LOAD", Load())
    monkeypatch.setattr(models_threads, "_PAUSE", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.mark.parametrize(
    ("wanting", "idle"),
    [((1, 1, 1, 1, 1), 2), ((1, 2, 1, 1, 1), 2), ((2, 2, 2, 2, 2), 1), ((3, 3, 2, 3, 3), 0), ((9, 9, 9, 9, 9), 0)],
)
def test_cores_are_idle_that_no_other_thread_wants(monkeypatch, wanting, idle):
    loads(monkeypatch, *wanting)
    assert idle_cores() == idle


def test_elsewhere_than_on_linux_the_load_average_tells_which_cores_are_idle(monkeypatch, tmp_path):
    monkeypatch.setattr(models_threads, "_LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.2, 0.5, 0.5))
    assert idle_cores() == 3
