"""A process that loads, samples and learns at a configuration's limits, and prints how far its memory grew."""

import asyncio
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from azr.domains.registry import config_class
from azr.learn.base import TrainSample
from azr.models.load import load_model
from azr.rollout.base import Sampling
from azr.rollout.local.generator import LocalGenerator
from azr.settings import build
from azr.train.start import make_learner


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    config = build(tomllib.loads(Path(sys.argv[1]).read_text()), config_class, source=sys.argv[1])
    torch.set_num_threads(1)
    torch.nn.Linear(64, 64)(torch.ones(64)).sum().backward()  # what torch allocates once is not the model's
    before = resident("VmRSS")
    policy = load_model(config.model)
    generation = config.generation
    generator = LocalGenerator(policy, generation, seed=0)
    sampling = Sampling(generation.max_solve_tokens)
    prompt = policy.renderer(chat=False)("a" * generation.max_prompt_tokens)
    samples = asyncio.run(generator.sample(prompt, n=generation.max_rows, key="k", sampling=sampling))
    rows = config.learner.token_budget // (prompt.length + generation.max_solve_tokens)
    rollouts = [
        TrainSample.of(replace(s, prompt_ids=(i + 3, *s.prompt_ids[1:])), np.ones(len(s.logprobs)))
        for i, s in enumerate(samples[:rows])
    ]
    learner = make_learner(config, policy)
    for _ in range(2):  # the optimizer's state is there from the first step on
        asyncio.run(learner.update(rollouts))
    print(resident("VmHWM") - before, min(len(r.completion_ids_T) for r in rollouts))


if __name__ == "__main__":
    main()
