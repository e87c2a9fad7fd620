"""Rounds of self-play with a person in one role; each is a step of `azr.selfplay.step` with one proposal."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from azr.config import Config
from azr.domains import registry
from azr.domains.base import Domain
from azr.errors import UserError
from azr.play.seats import Person, Seats, Stage
from azr.selfplay.buffer import TaskBuffer
from azr.selfplay.parts import Parts
from azr.selfplay.records import Episode, StepRecord
from azr.selfplay.step import SelfPlay, buffer_kinds, counted
from azr.streams import stream
from azr.types import Kind, Role, Task

TRIES = 30
"""Invalid proposals of the model after which a round is given up."""


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round, with the person's role and the reward of the person's proposal or attempt (Eq. 6).

    `refused` counts the model's invalid proposals before this one, by reason.
    """

    role: Role
    kind: Kind
    episode: Episode
    reward: float
    refused: Mapping[str, int]


class Game:
    """Plays rounds. Accepted tasks enter its buffer, so a proposal that is repeated counts as a duplicate.

    Args:
        config: from `azr.play.command.settle`.
        parts: the model, domain and sandbox.
        buffer: lines of the task buffer that references are drawn from; None for the domain's own seeds.

    Attributes:
        words: the domain in the style `chat`, to show to people.
    """

    def __init__(self, config: Config, parts: Parts, buffer: Iterable[str] | None = None) -> None:
        self._config, self._parts, self.domain = config, parts, parts.domain
        in_words = config.domain.model_copy(update={"style": "chat"})
        self.words = registry.make_domain(in_words, config.sandbox)
        if buffer is None:
            self._buffer = self._holding(self.domain.seeds())
        else:
            self._buffer = TaskBuffer.load(buffer, buffer_kinds(self.domain), config.buffer)
        self._step = 0

    async def propose(self, kind: Kind, person: Person, *, first: tuple[Kind, str] | None = None) -> Round:
        """The person proposes a task, which may build on `first`, a proposal by kind and text; the model attempts it.

        Raises:
            UserError: `first` is not a valid task.
        """
        buffer = self._buffer if first is None else self._holding([await self._task(*first)])
        record = await self._play(Role.PROPOSE, kind, person, buffer)
        return _round(record, Role.PROPOSE, kind, {})

    async def solve(self, kind: Kind, person: Person) -> Round:
        """The model proposes until a proposal is valid, and the person answers.

        Raises:
            UserError: `TRIES` proposals were invalid.
        """
        refused: Counter[str] = Counter()
        while refused.total() < TRIES:
            record = await self._play(Role.SOLVE, kind, person, self._buffer)
            if record.episodes[0].task is not None:
                return _round(record, Role.SOLVE, kind, refused)
            refused[record.episodes[0].proposal.verdict.reason] += 1
        raise UserError(
            f"none of the model's {TRIES} {kind} proposals was valid ({counted(refused)}); try another --kind"
        )

    async def _play(self, role: Role, kind: Kind, person: Person, buffer: TaskBuffer) -> StepRecord:
        self._step += 1
        config, stage = self._config, Stage(self.domain, self.words, kind)
        if role == Role.SOLVE:  # a person answers once
            config = config.model_copy(update={"selfplay": config.selfplay.model_copy(update={"samples": 1})})
        seats = Seats(self._parts.generator, role, person, stage)
        parts = replace(self._parts, domain=cast(Domain, stage), generator=seats)
        return await SelfPlay(config, parts, buffer).step(self._step)

    def _holding(self, tasks: Iterable[Task]) -> TaskBuffer:
        buffer = TaskBuffer(buffer_kinds(self.domain), self._config.buffer)
        for task in tasks:
            buffer.add(task, step=0, answer=self.domain.gold(task))
        return buffer

    async def _task(self, kind: Kind, text: str) -> Task:
        """The task of a proposal that another one builds on."""
        prompt = self.domain.propose_prompt(kind, (), stream(self._config.seed, "play"))
        proposal = await self.domain.validate(prompt, text, self._parts.sandbox)
        if proposal.task is None:
            detail = f": {proposal.verdict.detail}" if proposal.verdict.detail else ""
            raise UserError(f"the program to build on is not a valid {kind} task: {proposal.verdict.reason}{detail}")
        return proposal.task


def _round(record: StepRecord, role: Role, kind: Kind, refused: Mapping[str, int]) -> Round:
    (episode,) = record.episodes
    reward = next(rollout.reward for rollout in record.rollouts if rollout.cell[0] == role)
    return Round(role, kind, episode, reward, refused)
