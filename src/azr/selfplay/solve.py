"""The solver's side of a step: attempts at a task, their verdicts, and answers that are learnt without a reward.

With `selfplay.search.guesses`, an attempt is a search: the model guesses, checks the guess by solving other tasks, and
guesses again if the check fails. What is learnt is the one guess that it ends with, as an answer to the task's prompt.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from statistics import fmean

from azr.concurrency import gather
from azr.config import Config
from azr.domains.answers import STRAIGHT_TO_THE_ANSWER
from azr.domains.base import Searchable
from azr.intrinsic import SolverReward, checked, load
from azr.rollout.base import Sampling
from azr.selfplay.parts import Parts
from azr.selfplay.records import Attempts, Search, Stopwatch
from azr.types import Demonstration, Prompt, Sample, Task, Verdict


class Solver:
    """Attempts tasks.

    Args:
        config: the run's.
        parts: domain, generator, sandbox and renderer.
    """

    def __init__(self, config: Config, parts: Parts) -> None:
        self._domain, self._generator = parts.domain, parts.generator
        self._sandbox, self._render = parts.sandbox, parts.render
        self._search, generation, self._style = config.selfplay.search, config.generation, config.domain.style
        self._longest_prompt = generation.max_prompt_tokens
        self._sampling = Sampling(generation.max_solve_tokens, generation.temperature, generation.top_p)
        self._check_sampling = Sampling(generation.max_solve_tokens, temperature=0.0)
        terms = {name: load(name) for name in config.rewards.plugins}
        self._terms = {name: term for name, term in terms.items() if isinstance(term, SolverReward)}

    async def attempt(self, task: Task, name: str, stopwatch: Stopwatch, *, n: int, learnt: bool) -> Attempts:
        """Attempt a task n times, verify each attempt, and collect what else is to be learnt."""
        prompt, domain = self._render(self._domain.solve_prompt(task)), self._domain
        searches: tuple[Search, ...] = ()
        if self._search.guesses > 1 and isinstance(domain, Searchable) and task.kind in domain.checkable:
            samples, searches = await self._search_for(domain, task, prompt, name, stopwatch, n)
        else:
            with stopwatch("solve"):
                samples = await self._generator.sample(prompt, n=n, key=name, sampling=self._sampling)
        with stopwatch("verify"):
            verdicts = await gather(domain.verify(task, sample.text, self._sandbox) for sample in samples)
        shown: list[Demonstration] = []
        if learnt and self._search.shows and isinstance(domain, Searchable) and task.kind in domain.relabelable:
            with stopwatch("verify"):
                shown = [one async for one in self._demonstrations(domain, task, name, samples, verdicts)]
        terms = self._intrinsic(task, samples, verdicts)
        return Attempts(name, task, samples, tuple(verdicts), learnt, terms, searches, tuple(shown))

    async def rate_without_thought(self, task: Task, name: str, stopwatch: Stopwatch, *, n: int) -> float:
        """The solve rate of n attempts that are made to answer at once (`rewards.thinking`). Nothing is learnt."""
        opening = STRAIGHT_TO_THE_ANSWER[self._style]
        prompt = self._render(self._domain.solve_prompt(task) + opening)
        with stopwatch("solve"):
            samples = await self._generator.sample(prompt, n=n, key=f"{name}/straight", sampling=self._sampling)
        with stopwatch("verify"):
            texts = (opening + sample.text for sample in samples)
            verdicts = await gather(self._domain.verify(task, text, self._sandbox) for text in texts)
        return fmean(verdict.passed for verdict in verdicts)

    async def _search_for(
        self, domain: Searchable, task: Task, prompt: Prompt, name: str, stopwatch: Stopwatch, n: int
    ) -> tuple[tuple[Sample, ...], tuple[Search, ...]]:
        """Guess n times, and again where the guess failed its check, in rounds; the last guesses are not checked."""
        guesses: list[list[Sample]] = [[] for _ in range(n)]
        agrees: dict[str, bool] = {}  # by text: equal guesses are checked once
        waiting = list(range(n))
        for number in range(self._search.guesses):
            key = f"{name}/guess/{number}" if number else name
            with stopwatch("solve"):
                drawn = await self._generator.sample(prompt, n=len(waiting), key=key, sampling=self._sampling)
            for i, sample in zip(waiting, drawn, strict=True):
                guesses[i].append(sample)
            if number + 1 < self._search.guesses:
                new = [text for text in dict.fromkeys(sample.text for sample in drawn) if text not in agrees]
                agree = partial(self._agrees, domain, task)
                with stopwatch("check"):
                    found = await gather(agree(text, f"{key}/check/{row}") for row, text in enumerate(new))
                agrees |= dict(zip(new, found, strict=True))
                waiting = [i for i in waiting if not agrees[guesses[i][-1].text]]
            if not waiting:
                break
        searches = (
            Search(tuple(guess.text for guess in rejected), agrees.get(last.text, False)) for *rejected, last in guesses
        )
        return tuple(last for *_, last in guesses), tuple(searches)

    async def _agrees(self, domain: Searchable, task: Task, text: str, key: str) -> bool:
        """Whether the model itself finds that a guess is right: it solves each of the guess's checks, greedily."""
        checks = domain.checks(task, text)
        for number, check in enumerate(checks):
            prompt = self._render(self._domain.solve_prompt(check))
            if prompt.length > self._longest_prompt:
                return False
            (sample,) = await self._generator.sample(prompt, n=1, key=f"{key}/{number}", sampling=self._check_sampling)
            if not (await self._domain.verify(check, sample.text, self._sandbox)).passed:
                return False
        return bool(checks)

    async def _demonstrations(
        self, domain: Searchable, task: Task, name: str, samples: Sequence[Sample], verdicts: Sequence[Verdict]
    ) -> AsyncIterator[Demonstration]:
        """The task's own answer, and wrong attempts as answers to the tasks that they solve, each once."""
        right, seen = [(task, "gold", self._search.gold)], {task.fingerprint}
        if self._search.relabelled:
            wrong = dict.fromkeys(s.text for s, verdict in zip(samples, verdicts, strict=True) if not verdict.passed)
            for other in await gather(domain.relabelled(task, text, self._sandbox) for text in wrong):
                if other is not None and other.fingerprint not in seen:
                    seen.add(other.fingerprint)
                    right.append((other, "relabelled", self._search.relabelled))
        for number, (one, source, advantage) in enumerate(right):
            prompt = self._render(self._domain.solve_prompt(one))
            if advantage and prompt.length <= self._longest_prompt:
                text = self._domain.gold(one)
                yield Demonstration(f"{name}/demonstration/{number}", one, source, prompt, text, advantage)

    def _intrinsic(
        self, task: Task, samples: Sequence[Sample], verdicts: Sequence[Verdict]
    ) -> tuple[dict[str, float], ...]:
        """Values of the solver's plug-ins for each attempt; nothing without such plug-ins."""
        if not self._terms:
            return ()
        return tuple(
            {name: checked(name, term, term.value(task, sample, verdict)) for name, term in self._terms.items()}
            for sample, verdict in zip(samples, verdicts, strict=True)
        )
