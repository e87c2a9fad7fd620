"""How the policy learns: advantages, loss and optimizer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, PositiveFloat, PositiveInt, field_validator, model_validator

from azr.algorithms import registry
from azr.algorithms.registry import Aggregation
from azr.config.base import NonNegative, Rate, Section, Share

Decay = Annotated[float, Field(ge=0, lt=1)]


class PPOConfig(Section):
    """The critic; only for algorithm.name = ppo."""

    discount: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="discount of the returns per token, gamma")
    gae_lambda: Share = Field(0.95, description="lambda of generalized advantage estimation (arXiv 1506.02438)")
    critic_lr: Rate = Field(1e-4, description="learning rate of the critic")
    value_clip: PositiveFloat | None = Field(
        0.2, description="clip range of values in the value loss; null: no clipping"
    )


class AlgorithmConfig(Section):
    """Advantages (Eq. 8) and the surrogate loss; docs/algorithms.md has the equations."""

    name: str = Field(
        "trr++",
        description="baseline per role and kind (trr++), step (reinforce++), prompt (grpo, rloo, dr-grpo); a critic"
        " (ppo); or the name of a plug-in",
    )
    whiten: Literal["rollout", "token"] = Field(
        "rollout",
        description="trr++, reinforce++: statistics over rollouts (paper) or over response tokens (reference code)",
    )
    clip_low: PositiveFloat = Field(0.2, description="the ratio is clipped at 1 - clip_low")
    clip_high: PositiveFloat = Field(
        0.2, description="the ratio is clipped at 1 + clip_high; the reference code uses 0.28"
    )
    dual_clip: PositiveFloat | None = Field(
        None, description="dual-clip bound for negative advantages, above 1; null: none"
    )
    kl_coefficient: NonNegative = Field(0.0, description="weight of the KL divergence from the untrained model")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="Schulman's estimators of that divergence")
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="loss: a term of each token's loss; reward: subtracted from each reward before the baseline"
    )
    entropy_coefficient: NonNegative = Field(0.0, description="weight of the entropy bonus; the paper uses 0.001")
    aggregation: Aggregation = Field(
        "token_mean",
        description="how token losses are averaged; if not set, grpo uses sequence_mean and dr-grpo constant",
    )
    constant_length: PositiveInt | None = Field(
        None, description="normalizer for aggregation = constant, in tokens; null: the longest completion allowed"
    )
    importance_cap: PositiveFloat | None = Field(
        None,
        description="cap of the importance weights between sampler and learner; null: no weights, but 2 with"
        " generation.urls and on a Tinker service",
    )
    ppo: PPOConfig = PPOConfig()

    @model_validator(mode="before")
    @classmethod
    def _own_aggregation(cls, data: Any) -> Any:
        """If no aggregation is set, use that of the algorithm's own paper."""
        name = data.get("name") if isinstance(data, dict) else None
        if isinstance(name, str) and (name in registry.ALGORITHMS or name in registry.names()):
            return {"aggregation": registry.algorithm(name).aggregation, **data}
        return data

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        registry.check_name(name)
        return name

    @model_validator(mode="after")
    def _dual_clip_lies_above_one(self) -> Self:
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ValueError("dual_clip must be above 1")
        return self


def _number_or_auto(value: object) -> object:
    # A union would give one message per member.
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("must be a whole number above 0, or auto")


class LearnerConfig(Section):
    """The optimizer and its micro-batches."""

    lr: Rate = Field(1e-6, description="learning rate")
    betas: Annotated[tuple[Decay, Decay], Field(strict=False)] = (0.9, 0.999)
    weight_decay: NonNegative = 0.0
    grad_clip: PositiveFloat = Field(1.0, description="gradient norm, at most")
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = Field(
        "constant",
        description="rate after warm-up; linear, cosine: to 0 at the end; inverse_sqrt: as 1 / sqrt(updates so far)",
    )
    hold_steps: PositiveInt = Field(
        1, description="for schedule = inverse_sqrt: updates before the rate falls, warm-up included"
    )
    optimizer: Literal["adamw", "adamw-fused", "adamw-8bit"] = Field(
        "adamw", description="adamw-fused: one kernel; adamw-8bit: moments in 8 bits (needs the extra `quant`)"
    )
    offload: bool = Field(False, description="keep float32 weights, gradients and moments in CPU memory")
    token_budget: PositiveInt = Field(
        16384, description="tokens per micro-batch, padding included; halved if memory runs out"
    )
    epochs: PositiveInt = Field(1, description="passes over the rollouts of a step; 1 is on-policy")
    minibatches: PositiveInt = Field(1, description="optimizer steps per pass")
    processes: Annotated[int | Literal["auto"], PlainValidator(_number_or_auto)] = Field(
        "auto",
        description="processes of one machine that share each step; under torchrun, as many as it starts. auto: 2 for a"
        " local model of under 5 million parameters if two cores are idle at the start and neither `threads` nor"
        " OMP_NUM_THREADS is set, else 1. Equal runs need the same number; the run's config.toml has it",
    )
    sharding: Literal["auto", "replicated", "sharded"] = Field(
        "auto",
        description="with several processes: every one has the whole model (replicated), or a part of it (sharded, by"
        " FSDP2); auto: sharded on CUDA",
    )

    @model_validator(mode="after")
    def _eight_bit_moments_are_not_sharded(self) -> Self:
        if self.optimizer == "adamw-8bit" and self.sharding == "sharded":
            raise ValueError("optimizer = adamw-8bit cannot be sharded; set sharding=replicated or optimizer=adamw")
        return self
