"""Sampling on a service with the Tinker API, and the session that the learner shares with the sampler.

The client, an optional package, is imported by `service.py`, `generator.py` and `azr.learn.tinker` when a run needs it.
"""
