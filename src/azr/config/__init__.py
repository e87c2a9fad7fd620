"""The whole configuration: one tree of frozen pydantic models. `docs/configuration.md` is generated from it.

Symbols in brackets are the paper's (arXiv 2505.03335). A default is the paper's value if the paper gives one, unless
its description says otherwise. `azr.settings` reads files and overrides and words the error messages.
"""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, SerializeAsAny, model_validator

from azr.algorithms.registry import algorithm
from azr.config.base import Section, Share
from azr.config.learning import AlgorithmConfig, LearnerConfig, PPOConfig
from azr.config.model import EndpointConfig, GenerationConfig, LoRAConfig, ModelConfig, Served, served
from azr.config.run import CheckpointConfig, EvaluationConfig, EventsConfig, SandboxConfig, TrackersConfig
from azr.config.selfplay import BufferConfig, DomainConfig, Intrinsic, RewardConfig, SearchConfig, SelfPlayConfig, Style
from azr.config.tinker import LORA_RANK, TinkerConfig, refusal

__all__ = [
    "AlgorithmConfig",
    "BufferConfig",
    "CheckpointConfig",
    "Config",
    "DomainConfig",
    "EndpointConfig",
    "EvaluationConfig",
    "EventsConfig",
    "GenerationConfig",
    "Intrinsic",
    "LearnerConfig",
    "LoRAConfig",
    "ModelConfig",
    "PPOConfig",
    "RewardConfig",
    "SandboxConfig",
    "SearchConfig",
    "SelfPlayConfig",
    "Served",
    "Share",
    "Style",
    "TinkerConfig",
    "TrackersConfig",
    "served",
]


IMPORTANCE_CAP = 2.0
"""`algorithm.importance_cap` where servers sample, whose log-probabilities are never quite the learner's."""


class Config(Section):
    """Everything that decides a run."""

    steps: PositiveInt = Field(500, description="number of training steps")
    seed: Annotated[int, Field(ge=0)] = 0
    threads: PositiveInt | None = Field(
        None, description="torch threads on a CPU; null: OMP_NUM_THREADS, or 1 below 5 million parameters, or all cores"
    )
    output_dir: str = Field("runs", description="parent folder of run directories")
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
    def _a_tinker_service_can_do_it(self) -> Self:
        if not self.model.hosted:
            if self.model.tokenizer is not None:
                raise ValueError("model.tokenizer is for a model on a Tinker service (tinker:NAME); leave it out")
            return self
        if reason := refusal(self):
            raise ValueError(reason)
        self._cap_importance()
        if not self.model.lora.rank:
            lora = self.model.lora.model_copy(update={"rank": LORA_RANK})
            object.__setattr__(self, "model", self.model.model_copy(update={"lora": lora}))
        return self

    @model_validator(mode="after")
    def _something_can_learn(self) -> Self:
        if not self.selfplay.learn:
            if self.learner.processes not in ("auto", 1):
                raise ValueError(
                    f"learner.processes = {self.learner.processes}, but with selfplay.learn = false nothing is learned;"
                    " leave it out"
                )
            return self
        if self.model.quantization != "none" and self.learner.sharding == "sharded":
            raise ValueError("model.quantization cannot be sharded; set learner.sharding=replicated")
        if self.generation.top_p < 1:
            raise ValueError(
                f"generation.top_p = {self.generation.top_p} cuts off part of the distribution that training"
                " computes log-probabilities for; set generation.top_p=1, or selfplay.learn=false"
            )
        if self.model.quantization != "none" and not self.model.lora.rank:
            raise ValueError("model.quantization freezes the weights, so it needs model.lora.rank above 0")
        if self.model.served:
            raise ValueError(
                "the weights of a served model stay on the server, so it cannot be trained;"
                " set selfplay.learn=false to propose tasks only"
            )
        return self

    @model_validator(mode="after")
    def _a_critic_learns_from_rollouts_alone(self) -> Self:
        if self.selfplay.shows and algorithm(self.algorithm.name).has_critic:
            raise ValueError(
                "selfplay.search.gold, search.relabelled and relabel are answers without a reward, from which the"
                f" critic of algorithm.name = {self.algorithm.name} cannot learn; set another algorithm, such as trr++"
            )
        return self

    @model_validator(mode="after")
    def _a_size_is_asked_for(self) -> Self:
        if self.selfplay.relabel and not getattr(self.domain, "sizes", True):
            raise ValueError("selfplay.relabel needs prompts that ask for a size; set domain.sizes, such as 3")
        return self

    @model_validator(mode="after")
    def _a_thought_can_be_left_out(self) -> Self:
        if self.rewards.thinking.coefficient and self.domain.style == "chat":
            raise ValueError(
                "rewards.thinking compares with attempts that answer without a thought, which a chat model's template"
                " does not allow; set domain.style to r1 or compact, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _servers_sample_from_weights_of_this_process(self) -> Self:
        if not self.generation.urls:
            return self
        if self.model.served:
            raise ValueError(
                "generation.urls are servers that sample from weights of this process, so model.name must be a folder"
                " or a hub name, not a served model"
            )
        self._cap_importance()
        return self

    def _cap_importance(self) -> None:
        if self.algorithm.importance_cap is None:  # see `_constant_length_is_the_longest_answer`
            algorithm = self.algorithm.model_copy(update={"importance_cap": IMPORTANCE_CAP})
            object.__setattr__(self, "algorithm", algorithm)

    @model_validator(mode="after")
    def _only_servers_sample_while_the_model_learns(self) -> Self:
        if self.generation.max_staleness and not self.generation.urls and not self.model.hosted:
            raise ValueError(
                "generation.max_staleness needs generation.urls, or a model on a Tinker service: a model in this"
                " process cannot be sampled while it learns"
            )
        return self

    @model_validator(mode="after")
    def _buffers_hold_the_seeds(self) -> Self:
        seeds = self.selfplay.seed_factor * self.selfplay.batch_size
        if self.selfplay.seed_file is None and self.buffer.cap < seeds:
            raise ValueError(
                f"buffer.cap = {self.buffer.cap}: seeding makes selfplay.seed_factor x batch_size = {seeds} tasks per"
                " kind, and the buffer must hold them"
            )
        return self

    @model_validator(mode="after")
    def _constant_length_is_the_longest_answer(self) -> Self:
        algorithm = self.algorithm
        if algorithm.aggregation == "constant" and algorithm.constant_length is None:
            longest = max(self.generation.max_propose_tokens, self.generation.max_solve_tokens)
            # The model is frozen, but still under construction here; config.toml should state the resolved value.
            object.__setattr__(self, "algorithm", algorithm.model_copy(update={"constant_length": longest}))
        return self
