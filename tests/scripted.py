"""A generator whose completions a test writes: for tests of what self-play makes of them."""

import asyncio
from collections.abc import Callable

from azr.rollout.base import Sampling
from azr.types import Prompt, Sample


class ScriptedGenerator:
    """Answers every prompt with what `script(key, prompt, row)` returns; finishing order is shuffled by `delay`."""

    def __init__(self, script: Callable[[str, str, int], str], delay: Callable[[str], float] = lambda key: 0.0) -> None:
        self._script, self._delay = script, delay
        self.keys: list[str] = []

    async def sample(self, prompt: Prompt, *, n: int, key: str, sampling: Sampling) -> tuple[Sample, ...]:
        self.keys.append(key)
        await asyncio.sleep(self._delay(key))
        return tuple(self._sample(self._script(key, prompt.text, row)) for row in range(n))

    async def update_weights(self, version: int, weights: object) -> None:
        """Nothing to update."""

    def _sample(self, text: str) -> Sample:
        ids = tuple(text.encode("utf-8", "replace"))
        return Sample((1,), ids, (-1.0,) * len(ids), text, True)


def plain(text: str) -> Prompt:
    """A prompt whose tokens are its characters."""
    return Prompt(text, tuple(map(ord, text)), len(text))
