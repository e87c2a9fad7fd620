"""What is played: the domain, the numbers of Algorithm 1, the buffers and the rewards."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from azr import intrinsic
from azr.config.base import Section
from azr.types import Kind

Style = Literal["r1", "chat", "compact"]


class DomainConfig(Section):
    """Settings that all domains share. A domain subclasses it to add its own keys, such as difficulty settings.

    A subclass lists its kinds in `available`.
    """

    available: ClassVar[tuple[Kind, ...]] = ()

    name: str = Field(description="name of a registered domain; `azr domains` lists them")
    kinds: Annotated[tuple[Kind, ...], Field(strict=False)] = Field((), description="kinds to play; empty: all")
    style: Style = Field(
        "r1", description="prompts for base models (r1), chat models (chat, by their template), small models (compact)"
    )

    @field_validator("kinds")
    @classmethod
    def _kinds_of_the_domain(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        for kind in kinds:
            if kind not in cls.available:
                name, known = cls.model_fields["name"].default, ", ".join(cls.available)
                raise ValueError(f"kinds: {kind!r} is not a kind of the {name} domain, which has {known}")
        if len(set(kinds)) != len(kinds):
            raise ValueError("kinds: each kind may be listed only once")
        return kinds or cls.available


class SearchConfig(Section):
    """Search, check, distil: attempts of several guesses that the model checks itself, and answers learnt as shown."""

    guesses: PositiveInt = Field(
        1,
        description="guesses per attempt, for kinds whose answers the model can check (Python: abduction, induction):"
        " the first that passes its own check is the attempt, else the last [k]; 1: no search",
    )
    gold: Annotated[float, Field(ge=0)] = Field(
        0.0, description="advantage at which the solver learns a new task's own program (induction); 0: it does not"
    )
    relabelled: Annotated[float, Field(ge=0)] = Field(
        0.0, description="the same for a wrong program, as the answer to its own outputs (induction)"
    )

    @property
    def shows(self) -> bool:
        """Whether answers are learnt that the solver did not give."""
        return self.gold > 0 or self.relabelled > 0


class SelfPlayConfig(Section):
    """Algorithm 1: how many tasks are proposed and solved, and from which references."""

    batch_size: PositiveInt = Field(64, description="proposals per kind and step [B]")
    references: Annotated[int, Field(ge=0)] = Field(6, description="past tasks shown to the proposer [K]; 0: none")
    reference_sampling: Literal["uniform", "recent", "learnable", "solved"] = Field(
        "uniform",
        description="recent: a task's weight halves with every `reference_half_life` newer tasks; learnable: the same,"
        " times the task's learnability (Eq. 4) when it was last attempted; solved: times its solve rate, for proposals"
        " that build on a reference and are harder than it",
    )
    reference_half_life: PositiveFloat = Field(256.0, description="in tasks, for any reference_sampling but uniform")
    samples: PositiveInt = Field(8, description="attempts per new task, from which learnability is estimated [n]")
    learn_from_samples: bool = Field(
        True, description="also train the solver on those attempts; false: on newly sampled ones, as in the paper"
    )
    solver_mix: Literal["new_first", "new_only", "uniform"] = Field(
        "new_first",
        description="tasks to solve: new ones, filled up from the buffer (new_first); new ones; any in the buffer",
    )
    train_proposer: bool = Field(True, description="false: do not train on the proposer's rollouts (ablation)")
    learn: bool = Field(
        True,
        description="false: propose, validate, measure learnability and store the tasks, but do not update the model",
    )
    seed_factor: PositiveInt = Field(
        4, description="seed tasks per kind from the untrained model, as a multiple of batch_size [S]"
    )
    seed_attempts: PositiveInt = Field(
        40, description="batches of proposals per kind, at most, to fill a buffer with seed tasks"
    )
    seed_shortfall: Literal["stop", "play_on"] = Field(
        "stop", description="if seed_attempts batches were not enough: stop with an error, or continue with those found"
    )
    seed_file: str | None = Field(
        None, description="JSONL file of seed tasks, as written by an earlier run (seed.jsonl)"
    )
    search: SearchConfig = SearchConfig()
    relabel: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="advantage at which the proposer learns a valid proposal of another size than it was asked for"
        " (domain.sizes) as the answer to a prompt that asks for its size; 0: it does not",
    )
    max_failed_steps: Annotated[int, Field(ge=0)] = Field(
        5, description="stop with an error after this many consecutive steps without a valid proposal; 0: never"
    )

    @property
    def shows(self) -> bool:
        """Whether answers are learnt that were not given to their prompt."""
        return self.search.shows or self.relabel > 0

    @model_validator(mode="after")
    def _uniform_draws_anew(self) -> Self:
        if self.solver_mix == "uniform" and self.learn_from_samples:
            raise ValueError(
                "solver_mix = uniform solves tasks drawn from the buffer, so it needs learn_from_samples = false"
            )
        return self


class BufferConfig(Section):
    """The task buffers, one per kind."""

    cap: PositiveInt = Field(16384, description="tasks per kind; the oldest are dropped first")
    reject_duplicates: bool = Field(
        True, description="reject a task if a buffer already holds it, apart from formatting and names"
    )
    shape_limit: PositiveInt | None = Field(
        None, description="reject a task if this many have its shape (equal up to names and constants); null: no limit"
    )


class Intrinsic(Section):
    """One optional intrinsic reward: coefficient * min(value, cap); azr's own are added for accepted proposals."""

    coefficient: float = 0.0
    cap: PositiveFloat = 1.0


class RewardConfig(Section):
    """Rewards of proposer and solver (Eq. 4-6)."""

    profile: Literal["paper", "reference"] = Field(
        "paper", description="reward of a proposal with a solve rate of 0 or 1: 0 (paper), or `wrong` (reference code)"
    )
    wrong: float = Field(-0.5, description="reward of a well-formed but wrong attempt (Eq. 6)")
    malformed: float = Field(-1.0, description="reward of a malformed text or an invalid proposal (Eq. 6)")
    partial_credit: bool = Field(
        False, description="induction: reward the share of hidden pairs that are right, instead of all or nothing"
    )
    complexity: Intrinsic = Field(Intrinsic(), description="cyclomatic complexity of the program / 10")
    novelty: Intrinsic = Field(Intrinsic(), description="1 - the largest syntactic similarity to a reference")
    diversity: Intrinsic = Field(Intrinsic(), description="1 - the share of tasks in the buffer with the same answer")
    progress: Intrinsic = Field(
        Intrinsic(), description="rise of the solve rate at tasks of the same length, between two spans of 5 steps"
    )
    thinking: Intrinsic = Field(
        Intrinsic(),
        description="solve rate of a task, less that of as many attempts that are made to answer without a thought;"
        " styles r1 and compact",
    )
    plugins: dict[str, Intrinsic] = Field(
        {}, description="rewards of installed packages (`azr plugins` lists them): `rewards.plugins.NAME.coefficient`"
    )

    @field_validator("plugins")
    @classmethod
    def _are_registered(cls, plugins: dict[str, Intrinsic]) -> dict[str, Intrinsic]:
        for name in plugins:
            intrinsic.check_name(name)
        return plugins
