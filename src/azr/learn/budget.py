"""How much the learner reads at once, and what happens when memory runs out."""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from azr.errors import UserError
from azr.learn.base import TrainSample
from azr.learn.packing import micro_batches, share_prompts
from azr.models.failures import out_of_memory

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class TokenBudget:
    """Tokens of a micro-batch: halved when memory runs out, so that the step is taken all the same.

    Args:
        tokens: `learner.token_budget`.
        shares_prompts: whether rollouts of one prompt may share a row.
    """

    def __init__(self, tokens: int, *, shares_prompts: bool) -> None:
        self.tokens, self._shares = tokens, shares_prompts
        self._most_rows = 0

    def cut(self, samples: Sequence[TrainSample]) -> list[list[list[int]]]:
        """Micro-batches of rows of indices."""
        rows = share_prompts(samples) if self._shares else [[i] for i in range(len(samples))]
        parts = micro_batches(samples, rows, self.tokens)
        self._most_rows = max(len(part) for part in parts)
        return parts

    def within(self, attempt: Callable[[], _Result]) -> _Result:
        """Try, and where memory runs out, try again with half the budget, until it is enough.

        Args:
            attempt: cuts its rollouts by `cut`, and leaves nothing behind when it fails.

        Raises:
            UserError: memory does not hold one row.
        """
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self._most_rows == 1:
                    raise UserError(
                        "out of memory while learning from a single prompt with its answers; lower"
                        " generation.max_prompt_tokens, max_propose_tokens or max_solve_tokens, set"
                        " model.gradient_checkpointing=true, or learn with model.lora.rank=16"
                    ) from error
            # Outside of the handler, whose traceback still holds the tensors of the failed pass.
            self.tokens = max(1, self.tokens // 2)
            _log.warning("out of memory while learning: learner.token_budget is now %d; the step goes on", self.tokens)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
