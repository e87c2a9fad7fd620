"""The root of the configuration tree."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from azr.config.base import Section
from azr.config.learning import AlgorithmConfig, LearnerConfig
from azr.config.model import GenerationConfig, ModelConfig
from azr.config.run import CheckpointConfig, EvaluationConfig, EventsConfig, SandboxConfig, TrackersConfig
from azr.config.selfplay import BufferConfig, DomainConfig, RewardConfig, SelfPlayConfig


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
