"""The whole configuration: one tree of frozen pydantic models. `docs/configuration.md` is generated from it.

Symbols in brackets are the paper's (arXiv 2505.03335). A default is the paper's value if the paper gives one, unless
its description says otherwise. `azr.settings` reads files and overrides and words the error messages.
"""

from azr.config.base import Share
from azr.config.learning import AlgorithmConfig, LearnerConfig, PPOConfig
from azr.config.model import EndpointConfig, GenerationConfig, LoRAConfig, ModelConfig, Served, served
from azr.config.run import CheckpointConfig, EvaluationConfig, EventsConfig, SandboxConfig, TrackersConfig
from azr.config.selfplay import BufferConfig, DomainConfig, Intrinsic, RewardConfig, SelfPlayConfig, Style
from azr.config.tree import Config

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
    "SelfPlayConfig",
    "Served",
    "Share",
    "Style",
    "TrackersConfig",
    "served",
]
