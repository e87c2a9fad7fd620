"""A model that a Tinker service trains and samples, and the settings that such a service cannot honour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from azr.algorithms.registry import algorithm
from azr.config.base import Section

if TYPE_CHECKING:
    from azr.config import Config

TINKER = "tinker:"
"""What the name of such a model begins with."""

LORA_RANK = 32
"""`model.lora.rank` on a service unless it is set, as the client has it; services train adapters only."""

LORA_ALPHA = 32.0
"""The scale that Tinker gives adapters; its API has no setting for it."""


class TinkerConfig(Section):
    """The service behind model.name = tinker:NAME. Its key is in the environment variable TINKER_API_KEY."""

    url: str | None = Field(
        None,
        description="address of a server with the Tinker API; null: TINKER_BASE_URL, or Thinking Machines' service",
    )
    timeout_seconds: PositiveFloat = Field(
        3600.0, description="longest wait for one answer, in which the client repeats requests that failed"
    )
    ttl_days: PositiveInt | None = Field(
        None, description="days until the service deletes the state of a checkpoint; null: never"
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("the address of a Tinker service has the form https://host:port")
        return url and url.rstrip("/")


def refusal(config: Config) -> str | None:
    """The first setting that a Tinker service cannot honour, with the reason; None if there is none."""
    for key, unusual, why in _limits(config):
        if unusual:
            return f"{key} = {_value(config, key)}: {why}"
    return None


def _limits(config: Config) -> Iterator[tuple[str, bool, str]]:
    """Keys, whether each has a value that a service cannot honour, and why it cannot."""
    model, learner = config.model, config.learner
    elsewhere = "a model on a Tinker service is not loaded here; leave it out"
    yield "model.device", model.device != "auto", elsewhere
    yield "model.dtype", model.dtype != "auto", elsewhere
    yield "model.attention", model.attention is not None, elsewhere
    yield "model.quantization", model.quantization != "none", elsewhere
    yield "model.gradient_checkpointing", model.gradient_checkpointing, elsewhere
    yield "model.trust_remote_code", model.trust_remote_code, elsewhere
    yield "generation.urls", bool(config.generation.urls), "the Tinker service samples; leave it out"
    if not config.selfplay.learn:
        return
    yield "model.lora.alpha", model.lora.alpha != LORA_ALPHA, f"Tinker's adapters have {LORA_ALPHA}; leave it out"
    yield "model.lora.targets", bool(model.lora.targets), "Tinker chooses the layers itself; leave it out"
    # The gradient goes through log-probabilities of sampled tokens, at temperature 1, and through nothing else.
    at_one = "Tinker's learner has log-probabilities at temperature 1 only; set generation.temperature=1"
    yield "generation.temperature", config.generation.temperature != 1, at_one
    critic = "Tinker gives no hidden states, which a critic needs; set another algorithm, such as trr++"
    yield "algorithm.name", algorithm(config.algorithm.name).has_critic, critic
    shown = "a Tinker service learns only what it has sampled; leave it out"
    yield "selfplay.search.gold", config.selfplay.search.gold > 0, shown
    yield "selfplay.search.relabelled", config.selfplay.search.relabelled > 0, shown
    yield "selfplay.relabel", config.selfplay.relabel > 0, shown
    entropy = "Tinker has no gradient of the entropy; set algorithm.entropy_coefficient=0"
    yield "algorithm.entropy_coefficient", config.algorithm.entropy_coefficient > 0, entropy
    adam = "Tinker's optimizer is AdamW in float32; set learner.optimizer=adamw"
    yield "learner.optimizer", learner.optimizer != "adamw", adam
    yield "learner.offload", learner.offload, "nothing is learnt in this process; leave it out"
    yield "learner.processes", learner.processes not in ("auto", 1), "nothing is learnt in this process; leave it out"
    yield "learner.sharding", learner.sharding != "auto", "nothing is learnt in this process; leave it out"


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return str(value).lower() if isinstance(value, bool) else value
