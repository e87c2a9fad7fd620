"""Absolute Zero self-play as a verifiers environment: one episode proposes a task and attempts it n times."""

from azr_selfplay.env import SelfPlayEnv
from azr_selfplay.harness import ChatHarness
from azr_selfplay.taskset import SelfPlayTaskset

__all__ = ["ChatHarness", "SelfPlayEnv", "SelfPlayTaskset"]
