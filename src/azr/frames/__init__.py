"""Runs and evaluations as pandas frames, for notebooks (extra `frames`)."""
