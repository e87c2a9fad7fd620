"""Fixtures: tiny language models."""

from tests.language_models import _one_thread, folders, load, policy

__all__ = ["_one_thread", "folders", "load", "policy"]
