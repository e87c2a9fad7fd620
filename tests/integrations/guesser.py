"""A tiny model that knows the form of the primes domain's texts, keeps to it half of the time, and guesses numbers.

To keep to the form is soon learnt, so that a short run must raise the reward of both roles.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from azr.config import SandboxConfig
from azr.domains.primes.config import PrimesConfig
from azr.domains.primes.domain import PrimesDomain
from azr.types import DEDUCTION
from tests.apprentice import batch
from tests.tiny import tiny_tokenizer

DOMAIN = PrimesDomain(PrimesConfig(style="compact", kinds=(DEDUCTION,), min_prime=5, max_prime=11), SandboxConfig())

CONFIG = """
steps = {steps}
threads = 1

[model]
name = "{model}"

[domain]
name = "primes"
style = "compact"
kinds = ["deduction"]
min_prime = 5
max_prime = 11

[selfplay]
batch_size = 12
references = 1
samples = 4
seed_factor = 1

[buffer]
reject_duplicates = false

[generation]
max_prompt_tokens = 120
max_propose_tokens = 30
max_solve_tokens = 30

[learner]
lr = 1e-3

[evaluation]
tasks = 0
"""


def make_guesser(folder: Path, *, steps: int = 150) -> Path:
    """Teach the form of proposals and answers, with numbers at random, and save the model."""
    torch.manual_seed(0)
    tokenizer, rng = tiny_tokenizer(), np.random.default_rng(0)
    tokens = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**tokens, **shape, num_key_value_heads=4, max_position_embeddings=256, tie_word_embeddings=True)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        ids, labels = batch([document(rng) for _ in range(32)], tokenizer)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def document(rng: np.random.Generator) -> tuple[str, str]:
    """A prompt, and a text that is well formed half of the time; an answer is right only by chance."""
    task, other = (DOMAIN.task(DEDUCTION, DOMAIN.draw(DEDUCTION, rng)) for _ in range(2))
    p, [[x, _]] = task.data["p"], task.data["pairs"]
    solve = rng.random() < 0.5
    prompt = DOMAIN.solve_prompt(task) if solve else DOMAIN.propose_prompt(DEDUCTION, [other], rng).text
    if rng.random() < 0.5:
        return prompt, "well"
    return prompt, f"<answer>{rng.integers(1, p)}</answer>" if solve else f"<answer>x = {x}, p = {p}</answer>"


def guesser_config(folder: Path, model: Path, *, steps: int) -> Path:
    """Write the configuration of a run and return its path."""
    path = folder / "guesser.toml"
    path.write_text(CONFIG.format(model=model, steps=steps))
    return path
