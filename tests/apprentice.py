"""A tiny model that knows the compact prompts: taught for a few seconds on one-line programs, for end-to-end tests.

With random weights nothing valid would ever be proposed, and neither seeding nor rewards would be tried for real.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from azr.domains.python.config import PythonConfig
from azr.domains.python.prompts import propose_prompt, solve_prompt
from azr.domains.python.tasks import identity_task, program_task
from azr.types import ABDUCTION, DEDUCTION, INDUCTION, Task
from nursery.tokenizer import build_tokenizer

DOMAIN = PythonConfig(style="compact", induction_inputs=4, induction_shown=2, program_bytes=200)
OPERATORS = {"+": lambda a, n: a + n, "-": lambda a, n: a - n, "*": lambda a, n: a * n}


def make_apprentice(folder: Path, *, steps: int = 240, seed: int = 0) -> Path:
    """Teach a model of about 150,000 parameters and save it; the folder is returned."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    tokens = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**tokens, **shape, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = random.Random(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        ids, labels = batch([document(rng) for _ in range(32)], tokenizer)
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def batch(documents: list[tuple[str, str]], tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, padded on the right; only answers are learnt."""
    rows = [
        (tokenizer.encode(prompt), [*tokenizer.encode(answer), tokenizer.eos_token_id]) for prompt, answer in documents
    ]
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels


def document(rng: random.Random) -> tuple[str, str]:
    """A prompt of any role and kind, and a right answer to it."""
    kind = rng.choice([DEDUCTION, ABDUCTION, INDUCTION])
    task = any_task(rng, kind)
    if rng.random() < 0.5:
        answer = {DEDUCTION: "output", ABDUCTION: "input"}.get(kind)
        text = task.data[answer] if answer else f"<program>\n{task.data['program']}\n</program>"
        return solve_prompt(DOMAIN, task), f"<answer>{text}</answer>"
    if kind == INDUCTION:
        inputs = "".join(f"<input>{value}</input>" for value in task.data["inputs"])
        return propose_prompt(DOMAIN, kind, [task]), f"<answer>{inputs}<message>add</message></answer>"
    references = [identity_task(kind) if rng.random() < 0.3 else any_task(rng, kind) for _ in range(rng.randint(1, 2))]
    program = f"<program>\n{task.data['program']}\n</program><input>{task.data['input']}</input>"
    return propose_prompt(DOMAIN, kind, references), f"<answer>{program}</answer>"


def any_task(rng: random.Random, kind: str) -> Task:
    """A task on a one-line program."""
    operator, constant = rng.choice(sorted(OPERATORS)), rng.randint(1, 9)
    run = OPERATORS[operator]
    program = f"def f(a):\n    return a {operator} {constant}"
    if kind == INDUCTION:
        values = rng.sample(range(10), 4)
        outputs = [str(run(value, constant)) for value in values]
        inputs = [str(value) for value in values]
        return program_task(
            kind, {"program": program, "message": "add", "inputs": inputs, "outputs": outputs, "shown": 2}
        )
    value = rng.randint(0, 9)
    return program_task(kind, {"program": program, "input": str(value), "output": str(run(value, constant))})
