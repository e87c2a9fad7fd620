"""Sampling on vLLM servers: token ids go out and come back, and the learner's weights are sent after each update.

vLLM runs in processes of its own and is never imported here. `server` speaks its routes, `pool` shares requests among
servers, `disk` and `nccl` send weights, `generator` puts them together.
"""
