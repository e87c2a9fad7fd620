"""How many threads torch gets."""

from __future__ import annotations

import os

import pytest

from azr.models.threads import SMALL, threads


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
