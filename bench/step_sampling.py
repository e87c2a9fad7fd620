"""How the sides of `bench/step.py` that are not azr sample: rows whose lengths are known, in three ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import torch
from step_work import Request
from torch.nn.utils.rnn import pad_sequence
from transformers import ContinuousBatchingConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.continuous_batching.utils import WorkloadHints

Rows: TypeAlias = list[tuple[list[int], int]]
"""A prompt and the length of its completion, for each row."""
BLOCK = 256
"""Tokens in a block of paged keys and values, transformers' default."""


class Lengths(StoppingCriteria):
    """Ends each row at a length of its own, as if it had drawn an end token there."""

    eos_token_id = None  # `generate` pads ended rows if a criterion has this attribute

    def __init__(self, lengths: Sequence[int], prompt: int, device: torch.device) -> None:
        self._ends_R = torch.tensor(lengths, device=device) + prompt

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Whether each row has ended."""
        return self._ends_R <= input_ids.shape[1]


def free(longest: int, pad: int) -> GenerationConfig:
    """The model's own distribution, without an end token; None would mean the model's."""
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": longest}
    return GenerationConfig(**options, eos_token_id=-1, pad_token_id=pad, use_cache=True, disable_compile=True)


def generated(model: Any, rows: Rows, pad: int) -> list[list[int]]:
    """Complete rows with `generate`, in one batch, each to its length."""
    prompts = [torch.tensor(prompt) for prompt, _ in rows]
    ids_RP = pad_sequence(prompts, True, pad, "left").to(model.device)
    mask_RP = pad_sequence([torch.ones_like(prompt) for prompt in prompts], True, 0, "left").to(model.device)
    lengths, width = [length for _, length in rows], ids_RP.shape[1]
    output = model.generate(
        ids_RP,
        attention_mask=mask_RP,
        generation_config=free(max(lengths), pad),
        stopping_criteria=StoppingCriteriaList([Lengths(lengths, width, model.device)]),
    )
    return [row[:length] for row, length in zip(output[:, width:].tolist(), lengths, strict=True)]


def batched(model: Any, rows: Rows, pad: int, size: int) -> list[list[int]]:
    """Complete rows with `generate`, at most `size` at once; 0: all."""
    parts = [rows[first : first + (size or len(rows))] for first in range(0, len(rows), size or len(rows))]
    return [row for part in parts for row in generated(model, part, pad)]


def paged(model: Any, rows: Rows, pad: int) -> list[list[int]]:
    """Complete rows with transformers' continuous batching over paged keys and values, each to its length.

    The first call decides how many rows run at once: all that it has.
    """
    longest = max(len(prompt) + length for prompt, length in rows)
    settings = ContinuousBatchingConfig(
        num_blocks=len(rows) * -(-longest // BLOCK), max_batch_tokens=8192, max_requests_per_batch=len(rows)
    )
    hints = WorkloadHints(max(len(prompt) for prompt, _ in rows), max(length for _, length in rows), len(rows))
    batching = model.continuous_batching_context_manager(
        free(hints.max_generated_length, pad),
        continuous_batching_config=settings,
        persistent_manager=True,
        workload_hints=hints,
    )
    found: dict[str, list[int]] = {}
    with batching as manager:
        names = [manager.add_request(prompt, max_new_tokens=length) for prompt, length in rows]
        while len(found) < len(rows):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                if result.error:
                    raise RuntimeError(f"continuous batching: {result.error}")
                found[result.request_id] = result.generated_tokens
            elif result is None and not manager.is_running():
                raise RuntimeError(f"continuous batching ended after {len(found)} of {len(rows)} rows")
    return [found[name] for name in names]


def rows_of(requests: Sequence[Request]) -> Rows:
    return [(request.prompt_ids, len(row)) for request in requests for row in request.rows]


def draws(server: Any, rows: Rows, step: int) -> Iterator[Any]:
    """Sample rows on a vLLM server, each to its length; gives their lengths."""
    from azr.rollout.vllm.server import Request as Wanted

    async def draw(prompt: list[int], length: int, seed: int) -> int:
        return len((await server.draw(Wanted(prompt, length, 1.0, 1.0, seed, ()))).completion_ids)

    for number, (prompt, length) in enumerate(rows):
        yield draw(prompt, length, step * 10_000 + number)
