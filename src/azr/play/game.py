"""Rounds of self-play with a person in one role; each is a step of `azr.selfplay.step` with one proposal."""

from __future__ import annotations

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
from azr.selfplay.step import SelfPlay, buffer_kinds
from azr.streams import stream
from azr.types import Kind, Role

TRIES = 30
"""Invalid proposals of the model after which a round is given up."""


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round.

    Attributes:
        role: the person's.
        kind: of the task.
        episode: the proposal and the attempts at it.
        reward: of the person's proposal or attempt (Eq. 6).
        refused: how many proposals of the model were invalid before this one, by reason.
    """

    role: Role
    kind: Kind
    episode: Episode
    reward: float
    refused: Mapping[str, int]


class Game:
    """Plays rounds. Accepted tasks enter its buffer, so a proposal that is repeated counts as a duplicate.

    Args:
        config: from `azr.play.choice.settle`.
        parts: the model, domain and sandbox.
        buffer: lines of the task buffer that references are drawn from; None for the domain's own seeds.

    Attributes:
        words: the domain in the style `chat`, to show to people.
    """

    def __init__(self, config: Config, parts: Parts, buffer: Iterable[str] | None = None) -> None:
        self._config, self._parts = config, parts
        in_words = config.domain.model_copy(update={"style": "chat"})
        self.words = registry.make_domain(in_words, config.sandbox)
        self._stage = Stage(parts.domain, self.words)
        self._buffer = self._filled(buffer)
        self._step = 0

    @property
    def domain(self) -> Domain:
        """The domain that is played."""
        return self._parts.domain

    def builds_on_others(self, kind: Kind) -> bool:
        """Whether a proposal of this kind builds on tasks of another kind."""
        return self.domain.sources(kind).kinds != (kind,)

    async def propose(self, kind: Kind, person: Person, *, first: tuple[Kind, str] | None = None) -> Round:
        """The person proposes a task, and the model attempts it.

        Args:
            kind: of the task.
            person: writes the proposal, given the prompt.
            first: a proposal, by kind and text, that this one builds on.

        Raises:
            UserError: `first` is not a valid task.
        """
        buffer = self._buffer if first is None else await self._alone(*first)
        record = await self._play(kind, Seats(self._parts.generator, Role.PROPOSE, person, self._last_prompt), buffer)
        return _round(record, Role.PROPOSE, kind, {})

    async def solve(self, kind: Kind, person: Person) -> Round:
        """The model proposes until a proposal is valid, and the person answers.

        Raises:
            UserError: `TRIES` proposals were invalid.
        """
        seats = Seats(self._parts.generator, Role.SOLVE, person, self._last_prompt)
        refused: Counter[str] = Counter()
        while refused.total() < TRIES:
            record = await self._play(kind, seats, self._buffer, samples=1)
            if record.episodes[0].task is not None:
                return _round(record, Role.SOLVE, kind, refused)
            refused[record.episodes[0].proposal.verdict.reason] += 1
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        raise UserError(f"none of the model's {TRIES} {kind} proposals was valid ({reasons}); try another --kind")

    async def _play(self, kind: Kind, seats: Seats, buffer: TaskBuffer, samples: int | None = None) -> StepRecord:
        self._step += 1
        self._stage.kinds = (kind,)
        config = self._config
        if samples is not None:
            config = config.model_copy(update={"selfplay": config.selfplay.model_copy(update={"samples": samples})})
        parts = replace(self._parts, domain=cast(Domain, self._stage), generator=seats)
        return await SelfPlay(config, parts, buffer).step(self._step)

    def _last_prompt(self) -> str:
        return self._stage.last_prompt

    def _filled(self, lines: Iterable[str] | None) -> TaskBuffer:
        kinds, config = buffer_kinds(self.domain), self._config.buffer
        if lines is not None:
            return TaskBuffer.load(lines, kinds, config)
        buffer = TaskBuffer(kinds, config)
        for task in self.domain.seeds():
            buffer.add(task, step=0, answer=self.domain.gold(task))
        return buffer

    async def _alone(self, kind: Kind, text: str) -> TaskBuffer:
        """A buffer that holds only this task, so that it is the reference."""
        prompt = self.domain.propose_prompt(kind, (), stream(self._config.seed, "play"))
        proposal = await self.domain.validate(prompt, text, self._parts.sandbox)
        if proposal.task is None:
            detail = f": {proposal.verdict.detail}" if proposal.verdict.detail else ""
            raise UserError(f"the program to build on is not a valid {kind} task: {proposal.verdict.reason}{detail}")
        buffer = TaskBuffer(buffer_kinds(self.domain), self._config.buffer)
        buffer.add(proposal.task, step=0, answer=self.domain.gold(proposal.task))
        return buffer


def _round(record: StepRecord, role: Role, kind: Kind, refused: Mapping[str, int]) -> Round:
    (episode,) = record.episodes
    reward = next(rollout.reward for rollout in record.rollouts if rollout.cell[0] == role)
    return Round(role, kind, episode, reward, refused)
