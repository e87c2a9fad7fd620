"""What is played: the domain, the numbers of Algorithm 1, the buffers and the rewards."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from azr.config.base import Section
from azr.types import Kind

Style = Literal["r1", "chat", "compact"]


class DomainConfig(Section):
    """What every domain's settings have in common; a domain adds its own keys, its difficulty knobs, by subclassing.

    A subclass names the kinds that it has in `available`.
    """

    available: ClassVar[tuple[Kind, ...]] = ()

    name: str = Field(description="registered name of the domain; `azr domains` lists them")
    kinds: Annotated[tuple[Kind, ...], Field(strict=False)] = Field((), description="kinds to play; empty: all")
    style: Style = Field(
        "r1", description="prompts for base models, for chat models through their template, or for small models"
    )

    @field_validator("kinds")
    @classmethod
    def _kinds_of_the_domain(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        for kind in kinds:
            if kind not in cls.available:
                name, known = cls.model_fields["name"].default, ", ".join(cls.available)
                raise ValueError(f"kinds: {kind!r} is not a kind of the {name} domain; it has {known}")
        if len(set(kinds)) != len(kinds):
            raise ValueError("kinds: name none twice")
        return kinds or cls.available


class SelfPlayConfig(Section):
    """Algorithm 1: how many, from what, for whom."""

    batch_size: PositiveInt = Field(64, description="proposals of each kind a step [B]")
    references: Annotated[int, Field(ge=0)] = Field(6, description="past tasks shown to the proposer [K]; 0: none")
    reference_sampling: Literal["uniform", "recent"] = Field(
        "uniform", description="recent: weights that halve every `reference_half_life` tasks of age"
    )
    reference_half_life: PositiveFloat = Field(256.0, description="in tasks, for reference_sampling = recent")
    samples: PositiveInt = Field(8, description="attempts at each new task, from which learnability is taken [n]")
    learn_from_samples: bool = Field(
        True, description="those attempts are the solver's rollouts too; false: fresh ones are drawn, as in the paper"
    )
    solver_mix: Literal["new_first", "new_only", "uniform"] = Field(
        "new_first",
        description="which tasks are solved: new ones, filled up from the buffer; new ones; any in the buffer",
    )
    train_proposer: bool = Field(True, description="false: the proposer's rollouts get no gradient (ablation)")
    learn: bool = Field(
        True, description="false: propose, check, measure learnability and file the tasks, but update nothing"
    )
    seed_factor: PositiveInt = Field(4, description="tasks of each kind made by the untrained model, in batches [S]")
    seed_attempts: PositiveInt = Field(
        40, description="seeding has fallen short when it has not filled up after so many batches of proposals a kind"
    )
    seed_shortfall: Literal["stop", "play_on"] = Field(
        "stop", description="then stop with an error, or say so and play on with the tasks there are"
    )
    seed_file: str | None = Field(None, description="JSONL of seed tasks to start from, as a run writes them")
    max_failed_steps: Annotated[int, Field(ge=0)] = Field(
        5, description="stop with an error after so many steps in a row without one valid proposal; 0: never"
    )

    @model_validator(mode="after")
    def _uniform_draws_anew(self) -> Self:
        if self.solver_mix == "uniform" and self.learn_from_samples:
            raise ValueError("solver_mix = uniform draws its own tasks, so it needs learn_from_samples = false")
        return self


class BufferConfig(Section):
    """The task buffers, one a kind."""

    cap: PositiveInt = Field(16384, description="tasks a kind; the oldest are dropped")
    reject_duplicates: bool = Field(True, description="refuse a task that a buffer holds already but for spelling")
    shape_limit: PositiveInt | None = Field(
        None, description="refuse a task once so many in its buffer have its shape (names and constants aside)"
    )


class Intrinsic(Section):
    """One optional reward for the proposer: coefficient * min(value, cap), added for accepted proposals."""

    coefficient: float = 0.0
    cap: PositiveFloat = 1.0


class RewardConfig(Section):
    """Eq. 4-6."""

    profile: Literal["paper", "reference"] = Field(
        "paper", description="learnability at a solve rate of 0 or 1: nothing (paper), or the penalty (reference code)"
    )
    wrong: float = Field(-0.5, description="a well formed but wrong attempt (Eq. 6)")
    malformed: float = Field(-1.0, description="a badly formed text, or an invalid proposal (Eq. 6)")
    partial_credit: bool = Field(False, description="induction pays the share of hidden pairs, not all or nothing")
    complexity: Intrinsic = Field(Intrinsic(), description="cyclomatic complexity of the program, / 10")
    novelty: Intrinsic = Field(Intrinsic(), description="1 - the largest syntax similarity to the references")
    diversity: Intrinsic = Field(Intrinsic(), description="1 - share of the buffer's tasks with the same answer")
