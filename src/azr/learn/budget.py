"""How many tokens the learner reads at once, and what happens when memory runs out."""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from azr.errors import UserError
from azr.learn.base import TrainSample
from azr.learn.packing import Sharing, micro_batches, neighbours, share_prompts, split
from azr.learn.ranks import Ranks
from azr.models.failures import out_of_memory

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class TokenBudget:
    """The tokens in a micro-batch. They are halved when memory runs out, and the step is repeated with smaller ones.

    Args:
        tokens: `learner.token_budget`.
        sharing: what rollouts in one micro-batch share (`Scorer.sharing`).
        ranks: the processes that share a step's rollouts.
    """

    def __init__(self, tokens: int, *, sharing: Sharing, ranks: Ranks) -> None:
        self.tokens, self._sharing, self._ranks = tokens, sharing, ranks
        self._most_rows = 0

    def cut(self, samples: Sequence[TrainSample]) -> list[list[list[int]]]:
        """This rank's micro-batches of rows of indices. Every rank gets the same number, so the last may be empty."""
        cut = neighbours if self._sharing == "prefixes" else micro_batches
        shares = [cut(samples, share, self.tokens) for share in self._shares(samples)]
        self._most_rows = max(len(part) for share in shares for part in share)
        own = shares[self._ranks.rank]
        return own + [[] for _ in range(max(map(len, shares)) - len(own))]

    def _shares(self, samples: Sequence[TrainSample]) -> list[list[list[int]]]:
        """The rows of each rank."""
        ranks = self._ranks.size
        if self._sharing == "prompts":
            return split(samples, share_prompts(samples), ranks)
        if self._sharing == "nothing" or ranks == 1:
            return split(samples, [[i] for i in range(len(samples))], ranks)
        fair = sum(len(sample.completion_ids_T) for sample in samples) / ranks
        together = share_prompts(samples, most=fair / 4)  # smaller pieces are easier to balance
        return [[[i] for row in share for i in row] for share in split(samples, together, ranks)]

    def within(self, attempt: Callable[[], _Result]) -> _Result:
        """Try, and if memory runs out, try again with half the budget until it is enough.

        Args:
            attempt: cuts its rollouts by `cut`, and leaves nothing behind when it fails. If memory runs out on one
                rank, it must fail on all (`Ranks.each`).

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
            if self._ranks.rank == 0:
                _log.warning(
                    "out of memory while learning: learner.token_budget is now %d; the step goes on", self.tokens
                )
            free_memory()


def free_memory() -> None:
    """Give back the memory of tensors that nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
