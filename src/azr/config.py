"""The whole configuration: one tree of frozen pydantic models. `docs/configuration.md` is generated from it.

Symbols in brackets are the paper's (arXiv 2505.03335); a default is the paper's value where the paper gives one, unless
its description says what the paper has.
Reading files, overrides and error messages live in `azr.settings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from azr.algorithms.registry import ALGORITHMS, Aggregation
from azr.served import Served, served
from azr.types import Kind

NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of the tree: frozen, no unknown keys, no silent conversion between types, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


if TYPE_CHECKING:
    AlgorithmName = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]

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


class LoRAConfig(Section):
    """Learn small matrices beside the weights, not the weights themselves (LoRA, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=0)] = Field(0, description="of the update of each weight matrix; 0: no LoRA")
    alpha: PositiveFloat = Field(32.0, description="the update is scaled by alpha / rank")
    targets: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="names of the layers that get one; empty: every linear layer but the output layer"
    )


class EndpointConfig(Section):
    """How a server with OpenAI's API is asked, where model.name is NAME@http://host:port/v1."""

    key_env: str = Field("AZR_API_KEY", description="environment variable that holds the API key, if there is one")
    connections: PositiveInt = Field(16, description="requests under way at once")
    attempts: PositiveInt = Field(6, description="how often a request is sent to a server that is busy or restarting")
    timeout_seconds: PositiveFloat = Field(600.0, description="the longest that one answer may take")


class ModelConfig(Section):
    """Which model, and how it is loaded."""

    name: str = Field(
        description="folder, hub name, `nursery` or `nursery-primes` for the small models that ship, or"
        " NAME@http://host:port/v1 for one that a server has"
    )
    device: str = Field("auto", description="auto takes CUDA, then Apple MPS, then the CPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on CUDA, else float32"
    )
    attention: str | None = Field(None, description="transformers' attn_implementation; null: its own choice")
    gradient_checkpointing: bool = Field(False, description="less memory for more time when learning")
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="frozen weights in LLM.int8 or NF4; needs the extra `quant`, and to learn model.lora.rank > 0",
    )
    lora: LoRAConfig = Field(LoRAConfig(), description="with rank > 0 only adapters learn; needs the extra `lora`")
    trust_remote_code: bool = Field(False, description="run code that comes with the model; only if you trust it")
    endpoint: EndpointConfig = Field(
        EndpointConfig(),
        description="how a server is asked; `key_env` names the environment variable that holds its API key, if it"
        " wants one",
    )

    @property
    def served(self) -> Served | None:
        """Where the model is, if a server has it."""
        return served(self.name)

    @model_validator(mode="after")
    def _address_holds_no_secret(self) -> Self:
        served(self.name)  # not a validator of `name`, whose message would show it
        return self


class GenerationConfig(Section):
    """How the model is sampled."""

    temperature: PositiveFloat = Field(1.0, description="for both roles, and for learnability")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="nucleus mass; 1 keeps every token, which learning needs"
    )
    max_prompt_tokens: PositiveInt = Field(6144, description="a longer prompt sheds references until it fits")
    max_propose_tokens: PositiveInt = Field(8096, description="longest proposal, in tokens")
    max_solve_tokens: PositiveInt = Field(8096, description="longest attempt, in tokens")
    max_rows: PositiveInt = Field(256, description="sequences in flight at most")
    overlap: bool | None = Field(
        None, description="admit new rows while others decode; null: only off the CPU, where false is reproducible"
    )


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


class PPOConfig(Section):
    """The critic of algorithm.name = ppo."""

    discount: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="gamma of the returns, per token")
    gae_lambda: Share = Field(0.95, description="lambda of generalised advantage estimation (arXiv 1506.02438)")
    critic_lr: Rate = Field(1e-4, description="the critic's own learning rate")
    value_clip: PositiveFloat | None = Field(
        0.2, description="how far the value loss lets a value move within an update; null: no limit"
    )


class AlgorithmConfig(Section):
    """Advantages (Eq. 8) and the surrogate; docs/algorithms.md has the equations."""

    name: AlgorithmName = Field(
        "trr++",
        description="baseline of each role x kind (trr++), of the step (reinforce++), of the prompt (grpo, rloo,"
        " dr-grpo), or a critic (ppo)",
    )
    whiten: Literal["rollout", "token"] = Field(
        "rollout",
        description="trr++, reinforce++: statistics over rollouts (paper) or over response tokens (reference code)",
    )
    clip_low: PositiveFloat = Field(0.2, description="ratio kept above 1 - clip_low")
    clip_high: PositiveFloat = Field(0.2, description="ratio kept below 1 + clip_high; the reference code uses 0.28")
    dual_clip: PositiveFloat | None = Field(None, description="bound on the loss of negative advantages; above 1")
    kl_coefficient: NonNegative = Field(0.0, description="weight of the divergence from the untrained model")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="Schulman's estimators of that divergence")
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="a term of every token's loss, or taken off every rollout's reward before the baseline"
    )
    entropy_coefficient: NonNegative = Field(0.0, description="weight of the entropy bonus; the paper has 0.001")
    aggregation: Aggregation = Field(
        "token_mean",
        description="how token losses become one number; unless set, grpo has sequence_mean and dr-grpo constant",
    )
    constant_length: PositiveInt | None = Field(
        None, description="normaliser for aggregation = constant, in tokens; null: the longest answer allowed"
    )
    importance_cap: PositiveFloat | None = Field(
        None, description="truncated importance weight between sampler and learner; null: none"
    )
    ppo: PPOConfig = PPOConfig()

    @model_validator(mode="before")
    @classmethod
    def _own_aggregation(cls, data: Any) -> Any:
        """What an algorithm's own paper does, where nothing else is asked for."""
        if isinstance(data, dict) and (algorithm := ALGORITHMS.get(data.get("name", ""))) is not None:
            return {"aggregation": algorithm.aggregation, **data}
        return data

    @model_validator(mode="after")
    def _dual_clip_lies_above_one(self) -> Self:
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError("dual_clip must be above 1")
        return self


class LearnerConfig(Section):
    """The optimizer."""

    lr: Rate = Field(1e-6, description="at most 1")
    betas: Annotated[tuple[Decay, Decay], Field(strict=False)] = (0.9, 0.999)
    weight_decay: NonNegative = 0.0
    grad_clip: PositiveFloat = Field(1.0, description="largest gradient norm")
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = Field(
        "constant",
        description="after the warm-up; linear, cosine: to 0 at the end of the run; inverse_sqrt: by the square root of"
        " the updates so far, however long the run is",
    )
    hold_steps: PositiveInt = Field(
        1, description="updates before the rate falls, the warm-up among them, for schedule = inverse_sqrt"
    )
    optimizer: Literal["adamw", "adamw-fused", "adamw-8bit"] = Field(
        "adamw", description="plain; in one kernel; with moments in 8 bits (needs the extra `quant`)"
    )
    offload: bool = Field(False, description="float32 weights, gradients and moments lie in the CPU's memory")
    token_budget: PositiveInt = Field(
        16384, description="tokens a micro-batch, padding included; halved when memory runs out"
    )
    epochs: PositiveInt = Field(1, description="passes over a step's rollouts; 1 is on-policy")
    minibatches: PositiveInt = Field(1, description="optimizer steps a pass")


class SandboxConfig(Section):
    """Where the model's programs run, and within what."""

    backend: Literal["auto", "local", "docker", "remote", "unsafe"] = "auto"
    tier: Literal["auto", "full", "seccomp"] = Field("auto", description="least protection accepted from `local`")
    workers: PositiveInt | None = Field(None, description="null: one a core")
    image: str = Field("python:3.12-slim", description="for backend = docker")
    url: str | None = Field(None, description="for backend = remote: the server's address")
    allow_unsafe: bool = Field(False, description="let backend = unsafe run model text with next to no protection")
    wall_seconds: PositiveFloat = 5.0
    cpu_seconds: PositiveInt = 5
    memory_mb: PositiveInt = 256
    output_bytes: PositiveInt = 16384

    @model_validator(mode="after")
    def _remote_needs_a_url(self) -> Self:
        if self.backend == "remote" and self.url is None:
            raise ValueError("backend = remote needs url")
        return self


class EvaluationConfig(Section):
    """Held-out accuracy during training."""

    every: Annotated[int, Field(ge=0)] = Field(0, description="in steps; 0: only before and after")
    tasks: Annotated[int, Field(ge=0)] = Field(100, description="held-out tasks a kind; 0: no evaluation")


class CheckpointConfig(Section):
    """What survives a crash."""

    every: PositiveInt = Field(10, description="in steps")
    keep: PositiveInt = Field(2, description="newest checkpoints kept")


class EventsConfig(Section):
    """What is written down beyond the events that are always written."""

    tokens_every: Annotated[int, Field(ge=0)] = Field(
        1,
        description="in steps: log-probabilities and advantages of every token, for `azr explain`; 0: never. About 14"
        " bytes a token",
    )


class TrackersConfig(Section):
    """Where metrics are shown besides the run's own files, which are always written; each needs its extra."""

    use: Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], Field(strict=False)] = Field(
        (), description="any of `tensorboard`, `wandb` and `trackio`; on the command line `trackers.use=wandb,trackio`"
    )
    project: str = Field("azr", description="of Weights & Biases and Trackio")
    name: str | None = Field(None, description="of the run there; null: the name of its folder")
    wandb_mode: Literal["online", "offline"] | None = Field(
        None, description="offline: kept in RUN/wandb for `wandb sync`; null: what WANDB_MODE says, else online"
    )

    @field_validator("use", mode="before")
    @classmethod
    def _names_in_a_row(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("use")
    @classmethod
    def _each_once(cls, use: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(use)) != len(use):
            raise ValueError("name none twice")
        return use


class Config(Section):
    """Everything that decides a run."""

    steps: PositiveInt = Field(500, description="updates")
    seed: Annotated[int, Field(ge=0)] = 0
    threads: PositiveInt | None = Field(
        None,
        description="torch's threads on a CPU; null: OMP_NUM_THREADS, else one for a model of less than five million"
        " parameters and all cores for a larger one",
    )
    output_dir: str = Field("runs", description="run directories are made in here")
    model: ModelConfig
    domain: SerializeAsAny[DomainConfig]
    selfplay: SelfPlayConfig = SelfPlayConfig()
    buffer: BufferConfig = BufferConfig()
    generation: GenerationConfig = GenerationConfig()
    rewards: RewardConfig = RewardConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    learner: LearnerConfig = LearnerConfig()
    sandbox: SandboxConfig = SandboxConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    events: EventsConfig = EventsConfig()
    trackers: TrackersConfig = TrackersConfig()

    @model_validator(mode="after")
    def _something_can_learn(self) -> Self:
        if not self.selfplay.learn:
            return self
        if self.generation.top_p < 1:
            raise ValueError(
                f"generation.top_p = {self.generation.top_p} samples from another distribution than the one whose"
                " log-probabilities are learnt from; set generation.top_p=1, or selfplay.learn=false"
            )
        if self.model.quantization != "none" and not self.model.lora.rank:
            raise ValueError("model.quantization freezes the weights, so it needs model.lora.rank above 0")
        if self.model.served:
            raise ValueError(
                "model.name is a server's, whose weights and log-probabilities stay there, so it cannot be trained;"
                " set selfplay.learn=false to propose tasks only"
            )
        return self

    @model_validator(mode="after")
    def _buffers_hold_the_seeds(self) -> Self:
        seeds = self.selfplay.seed_factor * self.selfplay.batch_size
        if self.selfplay.seed_file is None and self.buffer.cap < seeds:
            raise ValueError(
                f"buffer.cap = {self.buffer.cap}: seeding makes selfplay.seed_factor x batch_size = {seeds} tasks of"
                " each kind; a buffer has to hold them"
            )
        return self

    @model_validator(mode="after")
    def _constant_length_is_the_longest_answer(self) -> Self:
        algorithm = self.algorithm
        if algorithm.aggregation == "constant" and algorithm.constant_length is None:
            longest = max(self.generation.max_propose_tokens, self.generation.max_solve_tokens)
            # Frozen for everybody else: here the tree is still being made, and the run's config.toml is to name it.
            object.__setattr__(self, "algorithm", algorithm.model_copy(update={"constant_length": longest}))
        return self
