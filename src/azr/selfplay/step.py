"""Algorithm 1 of the paper (arXiv 2505.03335): propose, validate, solve, verify, reward. TRR++ follows in `azr.learn`.

The life of a task is one coroutine, `SelfPlay._propose`, told from top to bottom. Generator and sandbox are services
that many such episodes await at once. A step settles its episodes in the order of their numbers, never in the order in
which they ended, so that the same seed gives the same step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from azr.concurrency import gather
from azr.config import Config
from azr.domains.base import Domain, Proposal, ProposalPrompt
from azr.errors import UserError
from azr.rollout.base import Sampling
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.records import Attempts, Episode, StepRecord, Stopwatch
from azr.selfplay.rewards import intrinsic_reward, propose_reward, solve_reward
from azr.streams import stream
from azr.types import Kind, Prompt, Role, Rollout, Task, Verdict

REDRAWS = 32
"""How often references are redrawn, at most, for a kind that needs them, until the prompt fits."""
PROMPT_TOO_LONG = Verdict(True, 0.0, "prompt_too_long", "its solve prompt exceeds generation.max_prompt_tokens")


class SelfPlay:
    """Plays steps, and adds the accepted tasks to its buffer.

    Args:
        config: the run's.
        parts: domain, generator, sandbox and renderer.
        buffer: the tasks so far; `buffer_kinds` says which kinds it needs.
    """

    def __init__(self, config: Config, parts: Parts, buffer: TaskBuffer) -> None:
        self._config, self.buffer = config, buffer
        self._domain, self._generator = parts.domain, parts.generator
        self._sandbox, self._render = parts.sandbox, parts.render
        self.shortfalls: list[str] = []
        generation = config.generation
        self._propose_sampling = Sampling(generation.max_propose_tokens, generation.temperature, generation.top_p)
        self._solve_sampling = Sampling(generation.max_solve_tokens, generation.temperature, generation.top_p)

    async def step(self, step: int) -> StepRecord:
        """Play one step: every kind proposes B tasks, tasks are solved, both roles are rewarded."""
        play, stopwatch = self._config.selfplay, Stopwatch()
        episodes = await gather(
            self._propose(step, kind, index, stopwatch, attempt=True)
            for kind in self._domain.kinds
            for index in range(play.batch_size)
        )
        self._settle(episodes)
        admitted = self._admit(episodes, step)
        # Without a learner, attempts only measure learnability, which the episodes' own have done.
        solved = await gather(self._solver_batch(episodes, step, stopwatch) if self._config.selfplay.learn else ())
        record = StepRecord(step, episodes, solved, admitted, [], stopwatch)
        record.rollouts = sorted(self._rollouts(record), key=lambda rollout: rollout.id)
        return record

    async def seed(self) -> list[StepRecord]:
        """Fill the buffers in one go (see `seed_batches`)."""
        return [record async for record in self.seed_batches({})]

    async def seed_batches(self, progress: dict[Kind, Counter[str]]) -> AsyncIterator[StepRecord]:
        """Fill every buffer that proposals draw from with tasks of the untrained model, up to S x B each.

        Args:
            progress: number of proposals by kind and verdict, updated in place. Together with the buffer it is all
                that is needed to resume seeding; empty: start from the beginning.

        Yields:
            each batch, settled.

        Raises:
            UserError: a buffer does not fill up: the model proposes too little that is valid. With
                `seed_shortfall = play_on` it is noted in `shortfalls` instead.
        """
        if not progress:
            for task in self._domain.seeds():
                self.buffer.add(task, step=0, answer=self._domain.gold(task))
        play = self._config.selfplay
        wanted = play.seed_factor * play.batch_size
        for kind in seed_order(self._domain):
            reasons = progress.setdefault(kind, Counter())
            for batch in range(reasons.total() // play.batch_size, play.seed_attempts):
                if (missing := wanted - self.buffer.size(kind)) <= 0:
                    break
                stopwatch, first = Stopwatch(), batch * play.batch_size
                episodes = await gather(
                    self._propose(0, kind, first + index, stopwatch, attempt=False) for index in range(play.batch_size)
                )
                self._settle(episodes)
                admitted = self._admit(episodes, 0, most=missing)
                reasons.update(episode.proposal.verdict.reason for episode in episodes)
                yield StepRecord(0, episodes, [], admitted, [], stopwatch)
            if self.buffer.size(kind) < wanted:
                short = _shortfall(kind, self.buffer, wanted, reasons)
                if play.seed_shortfall == "stop":
                    advice = "take a stronger model, another domain.style, or a smaller selfplay.seed_factor"
                    raise UserError(f"{short}; {advice}")
                self.shortfalls.append(short)

    def seed_from(self, lines: Iterable[str]) -> Counter[str]:
        """Fill the buffers with tasks of another run, as seeds of this one; how many were left out, by reason.

        Raises:
            UserError: none is left to begin with, or to draw the references from that a kind cannot do without.
            Exception: whatever the domain, or `TaskBuffer.load`, makes of a line that is no task.
        """
        kinds, left_out = buffer_kinds(self._domain), Counter[str]()
        for task in TaskBuffer.load(lines, kinds, self._config.buffer).tasks(*kinds):
            checked = self._checked(Proposal(Verdict(True, 1.0, "accepted"), task))
            if checked.task is None:
                left_out[checked.verdict.reason] += 1
            else:
                self.buffer.add(task, step=0, answer=self._domain.gold(task))
        for sources in map(self._domain.sources, self._domain.kinds):
            needed = kinds if sources.count is None else sources.kinds
            if not self.buffer.tasks(*needed):
                raise UserError(
                    f"selfplay.seed_file = {self._config.selfplay.seed_file}: it has no task of"
                    f" {' or '.join(needed)} to begin with (left out: {counted(left_out) or 'none'})"
                )
        return left_out

    # The episodes

    async def _propose(self, step: int, kind: Kind, index: int, stopwatch: Stopwatch, *, attempt: bool) -> Episode:
        """The life of a task: propose, parse and validate, n attempts at once, verify each."""
        name = f"{step}/propose/{kind}/{index:04d}"
        asked, prompt = self._fitting_prompt(step, kind, index)
        with stopwatch("propose"):
            (sample,) = await self._generator.sample(prompt, n=1, key=name, sampling=self._propose_sampling)
        with stopwatch("validate"):
            proposal = await self._domain.validate(asked, sample.text, self._sandbox)
        episode = Episode(name, asked, sample, self._checked(proposal))
        if episode.task is not None:
            episode.intrinsic = self._intrinsic(episode.task, asked.references)
            if attempt:
                play, solve = self._config.selfplay, f"{step}/solve/{kind}/{index:04d}"
                episode.attempts = await self._attempt(
                    episode.task, solve, stopwatch, n=play.samples, learnt=play.learn_from_samples
                )
        return episode

    async def _attempt(self, task: Task, name: str, stopwatch: Stopwatch, *, n: int, learnt: bool) -> Attempts:
        """N attempts at one task, at the training temperature, each with its verdict."""
        prompt = self._render(self._domain.solve_prompt(task))
        with stopwatch("solve"):
            samples = await self._generator.sample(prompt, n=n, key=name, sampling=self._solve_sampling)
        with stopwatch("verify"):
            verdicts = await gather(self._domain.verify(task, sample.text, self._sandbox) for sample in samples)
        return Attempts(name, task, samples, tuple(verdicts), learnt)

    def _fitting_prompt(self, step: int, kind: Kind, index: int) -> tuple[ProposalPrompt, Prompt]:
        """The proposal prompt with the first choice of references that fits, as text and as tokens.

        Raises:
            UserError: no choice of references fits.
        """
        config, longest, length = self._config, self._config.generation.max_prompt_tokens, 0
        for references in self._references(step, kind, index):
            # The stream keeps the name that it had in earlier versions, so that a seed draws what it always drew.
            asked = self._domain.propose_prompt(kind, references, stream(config.seed, step, "brief", kind, index))
            prompt = self._render(asked.text)
            if prompt.length <= longest:
                return asked, prompt
            length = prompt.length
        tried = "no reference" if self._domain.sources(kind).count is None else f"any of {REDRAWS} references"
        raise UserError(
            f"generation.max_prompt_tokens = {longest}: the prompt to propose {kind} has {length} tokens with {tried};"
            " raise it"
        )

    def _references(self, step: int, kind: Kind, index: int) -> Iterator[Sequence[Task]]:
        """Choices of references, the best first: one fewer each time, or new draws if the number is fixed."""
        play, sources = self._config.selfplay, self._domain.sources(kind)
        half_life = play.reference_half_life if play.reference_sampling == "recent" else None
        rng = stream(self._config.seed, step, "references", kind, index)
        if sources.count is None:
            drawn = self.buffer.draw(sources.kinds, play.references, rng, half_life=half_life)
            yield from (drawn[:count] for count in range(len(drawn), -1, -1))
        else:
            for _ in range(REDRAWS):
                yield self.buffer.draw(sources.kinds, sources.count, rng, half_life=half_life)

    def _checked(self, proposal: Proposal) -> Proposal:
        """Reject what the buffer refuses, and a task whose solve prompt is too long."""
        task = proposal.task
        if task is None:
            return proposal
        if (reason := self.buffer.refusal(task)) is not None:
            return Proposal(Verdict(True, 0.0, reason))
        if self._render(self._domain.solve_prompt(task)).length > self._config.generation.max_prompt_tokens:
            return Proposal(PROMPT_TOO_LONG)
        return proposal

    # Settling a step

    def _settle(self, episodes: Sequence[Episode]) -> None:
        """Reject duplicates of earlier episodes of this step, and tasks beyond the shape limit.

        The number of the episode decides, not the order in which they ended.
        """
        accepted: list[Task] = []
        for episode in episodes:
            if episode.task is None:
                continue
            if (reason := self.buffer.refusal(episode.task, beside=accepted)) is not None:
                episode.proposal = Proposal(Verdict(True, 0.0, reason))
            else:
                accepted.append(episode.task)

    def _admit(self, episodes: Sequence[Episode], step: int, most: int | None = None) -> list[Task]:
        """Add accepted tasks to the buffer, at most `most`, in the order of the episodes; returns them stamped."""
        admitted: list[Task] = []
        for episode in episodes:
            if episode.task is not None and (most is None or len(admitted) < most):
                stamped = self.buffer.add(episode.task, step=step, answer=self._domain.gold(episode.task))
                if stamped is not None:
                    episode.proposal = replace(episode.proposal, task=stamped)
                    admitted.append(stamped)
        return admitted

    def _solver_batch(
        self, episodes: Sequence[Episode], step: int, stopwatch: Stopwatch
    ) -> list[Coroutine[Any, Any, Attempts]]:
        """The attempts that the episodes have not made: B tasks per kind in all, those that the step refused aside."""
        play = self._config.selfplay
        n = play.samples if play.learn_from_samples else 1
        batch = []
        for kind in self._domain.kinds:
            new = [episode.task for episode in episodes if episode.task is not None and episode.prompt.kind == kind]
            rng = stream(self._config.seed, step, "fill", kind)
            if play.solver_mix == "uniform":
                tasks = self.buffer.draw([kind], play.batch_size, rng)
            else:
                tasks = [] if play.learn_from_samples else list(new)
                if play.solver_mix == "new_first":
                    known = {task.id for task in new}
                    pool = self.buffer.draw([kind], self.buffer.size(kind), rng)
                    tasks += [task for task in pool if task.id not in known][: play.batch_size - len(new)]
            batch += [
                self._attempt(task, f"{step}/solve/{kind}/{play.batch_size + index:04d}", stopwatch, n=n, learnt=True)
                for index, task in enumerate(tasks)
            ]
        return batch

    def _intrinsic(self, task: Task, references: Sequence[Task]) -> dict[str, float]:
        """Complexity, novelty against the references and answer diversity of a new task."""
        likeness = max((self._domain.similarity(task, reference) for reference in references), default=0.0)
        return {
            "complexity": self._domain.complexity(task),
            "novelty": 1.0 - likeness,
            "diversity": self.buffer.rarity(task.kind, self._domain.gold(task)),
        }

    def _rollouts(self, record: StepRecord) -> Iterable[Rollout]:
        """Both roles' rollouts with their rewards (Eq. 4-6)."""
        rewards = self._config.rewards
        for episode in record.episodes:
            if self._config.selfplay.train_proposer:
                scores = episode.attempts.scores if episode.attempts else []
                reward = propose_reward(episode.proposal.verdict, scores, rewards)
                if episode.task is not None:
                    reward += intrinsic_reward(episode.intrinsic, rewards)
                yield Rollout(
                    id=episode.id,
                    cell=(Role.PROPOSE, episode.prompt.kind),
                    group=episode.id,
                    sample=episode.sample,
                    verdict=episode.proposal.verdict,
                    reward=reward,
                )
        for attempts in record.attempts():
            for index, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True)):
                if attempts.learnt:
                    yield Rollout(
                        id=f"{attempts.id}/{index}",
                        cell=(Role.SOLVE, attempts.task.kind),
                        group=attempts.id,
                        sample=sample,
                        verdict=verdict,
                        reward=solve_reward(verdict, rewards),
                    )


def buffer_kinds(domain: Domain) -> list[Kind]:
    """Kinds that need a buffer: those that are played, and the sources of their references."""
    return list(dict.fromkeys(kind for played in domain.kinds for kind in (*domain.sources(played).kinds, played)))


def seed_order(domain: Domain) -> list[Kind]:
    """Kinds in the order in which their buffers can be seeded: sources first."""
    kinds = buffer_kinds(domain)
    return sorted(kinds, key=lambda kind: domain.sources(kind).kinds != (kind,))


def counted(reasons: Counter[str]) -> str:
    """How often each reason was given, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def _shortfall(kind: Kind, buffer: TaskBuffer, wanted: int, reasons: Counter[str]) -> str:
    made = f"{buffer.size(kind)} of {wanted} {kind} tasks"
    return f"seeding: {made} after {reasons.total()} proposals ({counted(reasons)})"
