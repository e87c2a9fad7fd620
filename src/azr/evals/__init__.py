"""Evaluation: accuracy on benchmarks and held-out tasks, with intervals and baselines."""
