"""A step of a run as it is assumed to be, before anything is known about the model's answers."""

from dataclasses import dataclass

import numpy as np

from azr.config import Config
from azr.plan.assumed import MEDIAN_TOKENS, PROMPT_TOKENS, SIGMA, VALID, lengths


@dataclass(frozen=True, slots=True)
class Load:
    """What a step is assumed to be.

    Attributes:
        rollouts: completions.
        read: prompts.
        prompt: tokens of each.
        sampled: tokens of all completions.
        learnt: tokens of prompts and completions that are learnt from.
        longest: tokens of the longest proposal and the longest attempt together, which follow each other.
    """

    rollouts: int
    read: int
    prompt: int
    sampled: float
    learnt: int
    longest: float

    @property
    def context(self) -> float:
        """Tokens that a row holds on average while it is decoded."""
        return self.prompt + self.sampled / self.rollouts / 2


def assumed_load(config: Config) -> Load:
    """A step of this configuration with the lengths that `azr.plan.assumed` assumes."""
    play, generation = config.selfplay, config.generation
    proposals = play.batch_size * len(config.domain.kinds)
    fresh = round(VALID * proposals)
    others, each = (proposals - fresh, play.samples) if play.learn_from_samples else (proposals, 1)
    attempts = fresh * play.samples + others * each
    prompt = min(PROMPT_TOKENS, generation.max_prompt_tokens)
    propose, solve = (_lengths(most) for most in (generation.max_propose_tokens, generation.max_solve_tokens))
    learnt = proposals * (prompt + np.mean(propose)) if play.train_proposer else 0
    learnt += (attempts if play.learn_from_samples else others) * (prompt + np.mean(solve))
    return Load(
        rollouts=proposals + attempts,
        read=proposals + fresh + others,
        prompt=prompt,
        sampled=float(proposals * np.mean(propose) + attempts * np.mean(solve)),
        learnt=int(learnt),
        longest=_longest_of(proposals, propose) + _longest_of(attempts, solve),
    )


def _lengths(most: int) -> tuple[int, ...]:
    return lengths(min(MEDIAN_TOKENS, most), SIGMA, most)


def _longest_of(count: int, among: tuple[int, ...]) -> float:
    """The median of the longest of so many draws."""
    return float(np.quantile(among, 0.5 ** (1 / count)))
