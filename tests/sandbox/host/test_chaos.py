"""Thousands of jobs while processes are killed at random: no outcome is another job's, none is lost, nothing hangs."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "jobs"), [("full", 3000), ("seccomp", 600)])
def test_every_outcome_is_a_jobs_own_or_a_reason_while_processes_are_killed_at_random(tier, jobs):
    """In a process of its own, which tells what hangs and ends by itself."""
    command = [sys.executable, "-m", "tests.sandbox.chaos", "--tier", tier, "--jobs", str(jobs)]
    chaos = subprocess.run(command, capture_output=True, text=True)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
