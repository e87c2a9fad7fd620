"""Algorithm 1 of the paper (arXiv 2505.03335): propose, validate, solve, verify, reward. TRR++ follows in `azr.learn`.

Each episode is one coroutine, `SelfPlay._propose`. Generator and sandbox are services that many episodes await at once.
A step settles its episodes in the order of their numbers, not in the order in which they ended, so that the same seed
gives the same step.
"""

from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from azr.concurrency import Latch, gather
from azr.config import Config
from azr.domains.base import Domain, Proposal, ProposalPrompt, Sized, length_of
from azr.errors import UserError
from azr.intrinsic import ProposerReward, checked, load
from azr.rollout.base import Sampling
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.progress import Bucket, measured_progress
from azr.selfplay.records import Attempts, Episode, StepRecord, Stopwatch
from azr.selfplay.rewards import intrinsic_reward, learnability, propose_reward, solve_reward
from azr.selfplay.solve import Solver
from azr.streams import stream
from azr.types import Demonstration, Kind, Prompt, Role, Rollout, Task, Verdict

WORTH = {"learnable": lambda rate: learnability([rate]), "solved": lambda rate: rate}
"""What a reference is worth by its solve rate, for the ways of drawing that go by it."""
REDRAWS = 32
"""How many draws of references are tried, for a kind with a fixed number of them, until the prompt fits."""
PROMPT_TOO_LONG = Verdict(True, 0.0, "prompt_too_long", "its solve prompt exceeds generation.max_prompt_tokens")


class SelfPlay:
    """Plays steps, and adds accepted tasks to its buffer.

    Args:
        config: the run's.
        parts: domain, generator, sandbox and renderer.
        buffer: the tasks so far, of the kinds that `buffer_kinds` returns.
    """

    def __init__(self, config: Config, parts: Parts, buffer: TaskBuffer) -> None:
        self.config, self.buffer, self.domain = config, buffer, parts.domain
        self._generator, self._sandbox, self._render = parts.generator, parts.sandbox, parts.render
        self._solver = Solver(config, parts)
        self._progress: Mapping[Bucket, float] | None = None  # None: it is not rewarded
        terms = {name: load(name) for name in config.rewards.plugins}
        self._terms = {name: term for name, term in terms.items() if isinstance(term, ProposerReward)}
        generation = config.generation
        self._sampling = Sampling(generation.max_propose_tokens, generation.temperature, generation.top_p)

    async def step(self, step: int) -> StepRecord:
        """Play one step: every kind proposes B tasks, tasks are solved, both roles are rewarded.

        A task is attempted as soon as it is valid. When all proposals are in, they are settled, and the rest of the
        solver's batch is chosen and attempted, beside the attempts that are still running.
        """
        play, record = self.config.selfplay, StepRecord(step, [], [], [], [], Stopwatch())
        if self.config.rewards.progress.coefficient:
            self._progress = measured_progress(self.buffer, self.domain, step)
        slots = [(kind, index) for kind in self.domain.kinds for index in range(play.batch_size)]
        episodes: dict[tuple[Kind, int], Episode] = {}
        proposed = Latch(len(slots))

        async def play_episode(kind: Kind, index: int) -> None:
            episode = episodes[kind, index] = await self._propose(step, kind, index, record.stopwatch)
            proposed.arrive()
            if (task := episode.task) is not None:
                name, n = f"{step}/solve/{kind}/{index:04d}", play.samples
                episode.attempts = await self._solver.attempt(
                    task, name, record.stopwatch, n=n, learnt=play.learn_from_samples
                )
                if self.config.rewards.thinking.coefficient:
                    straight = await self._solver.rate_without_thought(task, name, record.stopwatch, n=n)
                    episode.intrinsic["thinking"] = fmean(episode.attempts.scores) - straight
                episode.attempts.demonstrations += tuple(self._resized(episode, task))
                episode.intrinsic |= self._proposer_terms(task, asked=episode.prompt, scores=episode.attempts.scores)

        async def solve_others() -> None:
            await proposed.wait()
            record.episodes = [episodes[slot] for slot in slots]
            record.admitted = self._admit(record.episodes, step)
            # Without a learner, attempts only measure learnability, and the episodes' own have done that.
            if play.learn:
                record.solved = await gather(self._solver_batch(record))

        await gather([*(play_episode(*slot) for slot in slots), solve_others()])
        for attempts in record.attempts():
            if len(attempts.samples) == play.samples:
                self.buffer.note(attempts.task, fmean(attempts.scores))
        record.rollouts = sorted(self._rollouts(record), key=lambda rollout: rollout.id)
        return record

    async def propose(
        self, slots: Iterable[tuple[Kind, int]], stopwatch: Stopwatch, *, most: int
    ) -> tuple[list[Episode], list[Task]]:
        """Propose tasks for seeding, none of which is attempted, and add at most `most` of them to the buffer.

        Args:
            slots: kind and number of each episode.
            stopwatch: gets the time per stage.
            most: the number of tasks that the buffer still needs.

        Returns:
            the episodes, and the tasks that were added, stamped.
        """
        episodes = await gather(self._propose(0, kind, index, stopwatch) for kind, index in slots)
        return episodes, self._admit(episodes, 0, most)

    async def _propose(self, step: int, kind: Kind, index: int, stopwatch: Stopwatch) -> Episode:
        """Propose one task, parse and validate it."""
        name = f"{step}/propose/{kind}/{index:04d}"
        asked, prompt = self._fitting_prompt(step, kind, index)
        with stopwatch("propose"):
            (sample,) = await self._generator.sample(prompt, n=1, key=name, sampling=self._sampling)
        with stopwatch("validate"):
            proposal = await self.domain.validate(asked, sample.text, self._sandbox)
        episode = Episode(name, asked, sample, self.checked(proposal))
        if episode.task is not None:
            episode.intrinsic = self._intrinsic(episode.task, asked.references)
        return episode

    def _admit(self, episodes: Sequence[Episode], step: int, most: int | None = None) -> list[Task]:
        """Settle episodes, and add accepted tasks to the buffer in their order; returns those added, stamped."""
        self._settle(episodes)
        admitted: list[Task] = []
        for episode in episodes:
            if episode.task is not None and (most is None or len(admitted) < most):
                stamped = self.buffer.add(episode.task, step=step, answer=self.domain.gold(episode.task))
                if stamped is not None:
                    episode.proposal = replace(episode.proposal, task=stamped)
                    admitted.append(stamped)
        return admitted

    def _fitting_prompt(self, step: int, kind: Kind, index: int) -> tuple[ProposalPrompt, Prompt]:
        """The first proposal prompt that fits, as text and as tokens; UserError if none does."""
        config, longest, length = self.config, self.config.generation.max_prompt_tokens, 0
        for references in self._references(step, kind, index):
            # "brief" is the name of earlier versions; another would give other random numbers.
            asked = self.domain.propose_prompt(kind, references, stream(config.seed, step, "brief", kind, index))
            prompt = self._render(asked.text)
            if prompt.length <= longest:
                return asked, prompt
            length = prompt.length
        tried = "no reference" if self.domain.sources(kind).count is None else f"any of {REDRAWS} references"
        raise UserError(
            f"generation.max_prompt_tokens = {longest}: the prompt to propose {kind} has {length} tokens with {tried};"
            " raise it"
        )

    def _references(self, step: int, kind: Kind, index: int) -> Iterator[Sequence[Task]]:
        """References to try in turn: one fewer each time, or new draws if their number is fixed."""
        play, sources = self.config.selfplay, self.domain.sources(kind)
        half_life = None if play.reference_sampling == "uniform" else play.reference_half_life
        worth = WORTH.get(play.reference_sampling)
        rng = stream(self.config.seed, step, "references", kind, index)
        if sources.count is None:
            drawn = self.buffer.draw(sources.kinds, play.references, rng, half_life=half_life, worth=worth)
            yield from (drawn[:count] for count in range(len(drawn), -1, -1))
        else:
            for _ in range(REDRAWS):
                yield self.buffer.draw(sources.kinds, sources.count, rng, half_life=half_life, worth=worth)

    def checked(self, proposal: Proposal) -> Proposal:
        """Reject a task that the buffer refuses, or whose solve prompt is too long."""
        task = proposal.task
        if task is None:
            return proposal
        if (reason := self.buffer.refusal(task)) is not None:
            return Proposal(Verdict(True, 0.0, reason))
        if self._render(self.domain.solve_prompt(task)).length > self.config.generation.max_prompt_tokens:
            return Proposal(PROMPT_TOO_LONG)
        return proposal

    def _settle(self, episodes: Sequence[Episode]) -> None:
        """Reject duplicates of earlier episodes of this step, and tasks beyond the shape limit."""
        accepted: list[Task] = []
        for episode in episodes:
            if episode.task is None:
                continue
            if (reason := self.buffer.refusal(episode.task, beside=accepted)) is not None:
                episode.proposal = Proposal(Verdict(True, 0.0, reason))
            else:
                accepted.append(episode.task)

    def _solver_batch(self, record: StepRecord) -> list[Coroutine[Any, Any, Attempts]]:
        """The attempts that fill up B tasks per kind, besides those that the episodes have made."""
        play, batch = self.config.selfplay, []
        n = play.samples if play.learn_from_samples else 1
        for kind in self.domain.kinds:
            new = [one.task for one in record.episodes if one.task is not None and one.prompt.kind == kind]
            rng = stream(self.config.seed, record.step, "fill", kind)
            if play.solver_mix == "uniform":
                tasks = self.buffer.draw([kind], play.batch_size, rng)
            else:
                tasks = [] if play.learn_from_samples else list(new)
                if play.solver_mix == "new_first":
                    known = {task.id for task in new}
                    pool = self.buffer.draw([kind], self.buffer.size(kind), rng)
                    tasks += [task for task in pool if task.id not in known][: play.batch_size - len(new)]
            batch += [
                self._solver.attempt(
                    task, f"{record.step}/solve/{kind}/{number:04d}", record.stopwatch, n=n, learnt=True
                )
                for number, task in enumerate(tasks, start=play.batch_size)
            ]
        return batch

    def _resized(self, episode: Episode, task: Task) -> Iterator[Demonstration]:
        """The proposal as the answer to the prompt that asks for its size, if it was asked for another one."""
        advantage = self.config.selfplay.relabel
        if advantage and isinstance(self.domain, Sized) and (text := self.domain.fitting(episode.prompt, task)):
            prompt = self._render(text)
            if prompt.length <= self.config.generation.max_prompt_tokens:
                name = f"{episode.id}/demonstration/0"
                yield Demonstration(name, task, "resized", prompt, episode.sample.text, advantage)

    def _intrinsic(self, task: Task, references: Sequence[Task]) -> dict[str, float]:
        """Complexity, novelty (compared with the references), rarity and, if it is rewarded, progress of a new task."""
        nearest = max((self.domain.similarity(task, reference) for reference in references), default=0.0)
        values = {
            "complexity": self.domain.complexity(task),
            "novelty": 1.0 - nearest,
            "diversity": self.buffer.rarity(task.kind, self.domain.gold(task)),
        }
        if self._progress is not None:
            values["progress"] = max(0.0, self._progress.get((task.kind, length_of(self.domain, task)), 0.0))
        return values

    def _proposer_terms(self, task: Task, *, asked: ProposalPrompt, scores: Sequence[float]) -> dict[str, float]:
        """Values of the proposer's plug-ins for a new task."""
        return {
            name: checked(name, term, term.value(task, asked.references, scores)) for name, term in self._terms.items()
        }

    def _rollouts(self, record: StepRecord) -> Iterator[Rollout]:
        """Both roles' rollouts with their rewards (Eq. 4-6)."""
        rewards = self.config.rewards
        for episode in record.episodes if self.config.selfplay.train_proposer else ():
            cell, verdict = (Role.PROPOSE, episode.prompt.kind), episode.proposal.verdict
            reward = propose_reward(verdict, episode.attempts.scores if episode.attempts else [], rewards)
            if episode.task is not None:
                reward += intrinsic_reward(episode.intrinsic, rewards)
            yield Rollout(episode.id, cell, group=episode.id, sample=episode.sample, verdict=verdict, reward=reward)
        for attempts in record.attempts():
            cell = (Role.SOLVE, attempts.task.kind)
            for index, (sample, verdict) in enumerate(zip(attempts.samples, attempts.verdicts, strict=True)):
                if attempts.learnt:
                    name, reward = f"{attempts.id}/{index}", solve_reward(verdict, rewards)
                    if attempts.intrinsic:
                        reward += intrinsic_reward(attempts.intrinsic[index], rewards)
                    yield Rollout(name, cell, group=attempts.id, sample=sample, verdict=verdict, reward=reward)


def buffer_kinds(domain: Domain) -> list[Kind]:
    """Kinds that need a buffer: those to play, and the sources of their references."""
    return list(dict.fromkeys(kind for played in domain.kinds for kind in (*domain.sources(played).kinds, played)))


def counted(reasons: Counter[str]) -> str:
    """Reasons with their counts, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
