"""How many threads arithmetic gets."""

from __future__ import annotations

import os

import pytest

from azr.concurrency import SMALL, threads


def test_the_users_number_of_threads_is_taken(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads(SMALL) == threads(1) == 7


def test_a_small_model_computes_on_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL - 1) == 1


@pytest.mark.parametrize("asked", [None, "", "0", "4,2"])
def test_else_there_is_one_thread_a_core_of_this_process(monkeypatch, asked):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 6}, raising=False)
    assert threads(SMALL) == 3


def test_a_machine_that_cannot_pin_processes_has_all_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert threads(SMALL) == 10
