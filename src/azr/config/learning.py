"""How the policy learns: advantages, loss and optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from azr.algorithms.registry import ALGORITHMS, Aggregation
from azr.config.base import NonNegative, Rate, Section, Share

Decay = Annotated[float, Field(ge=0, lt=1)]

if TYPE_CHECKING:
    AlgorithmName = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]


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
