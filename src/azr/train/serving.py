"""Builds the generator that samples on vLLM servers from the weights that are learnt here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from azr.learn.base import TrainSample
from azr.learn.logprobs import Scorer
from azr.models.adapters import plain_weights
from azr.rollout.vllm.disk import DiskSync
from azr.rollout.vllm.generator import Score, Sync, VLLMGenerator
from azr.rollout.vllm.nccl import NCCLGroup, NCCLSync
from azr.rollout.vllm.server import VLLMServer

if TYPE_CHECKING:
    from azr.config import Config
    from azr.models.load import LanguageModel

_ATTEMPTS_BESIDE_OTHERS = 2
"""How often a server is asked where others can take over; one alone is asked `model.endpoint.attempts` times."""


def make_vllm_generator(config: Config, policy: LanguageModel) -> VLLMGenerator:
    """The generator over `generation.urls`.

    Raises:
        UserError: weights cannot be sent in the way that is configured.
    """
    generation, endpoint = config.generation, config.model.endpoint
    servers = [
        VLLMServer(
            url,
            key=os.environ.get(endpoint.key_env, ""),
            connections=generation.max_rows,
            attempts=_ATTEMPTS_BESIDE_OTHERS if len(generation.urls) > 1 else endpoint.attempts,
            timeout_seconds=endpoint.timeout_seconds,
        )
        for url in generation.urls
    ]
    return VLLMGenerator(
        policy,
        generation,
        servers,
        sync=_sync(config, policy),
        plain=partial(plain_weights, policy.model),
        score=scorer(policy, temperature=generation.temperature),
        seed=config.seed,
    )


def scorer(policy: LanguageModel, *, temperature: float) -> Score:
    """The learner's log-probabilities of a completion, off the event loop."""

    def score(prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[float]:
        sample = TrainSample(
            np.array(prompt_ids, np.int32),
            np.array(completion_ids, np.int32),
            np.zeros(len(completion_ids), np.float32),
        )
        with torch.no_grad():
            logprobs_T = Scorer(policy.model, temperature=temperature).score([[sample]]).logprobs_N
        found: list[float] = logprobs_T.tolist()
        return found

    return lambda prompt_ids, completion_ids: asyncio.to_thread(score, prompt_ids, completion_ids)


def _sync(config: Config, policy: LanguageModel) -> Sync:
    generation = config.generation
    if generation.sync == "nccl":
        return NCCLSync(partial(NCCLGroup, policy.device), timeout_seconds=config.model.endpoint.timeout_seconds)
    return DiskSync(Path(generation.weights_folder) if generation.weights_folder else None)
