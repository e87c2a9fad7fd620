"""What surrounds a run: the sandbox, evaluation, checkpoints, events and trackers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from azr.config.base import Section
from azr.sandbox import factory


class SandboxConfig(Section):
    """Where the model's programs run, and within what."""

    backend: str = Field(
        "auto", description="local, docker, remote, unsafe or a plug-in's name; auto: local, on Linux only"
    )
    tier: Literal["auto", "full", "seccomp"] = Field("auto", description="least protection accepted from `local`")
    workers: PositiveInt | None = Field(None, description="null: one a core")
    image: str = Field("python:3.12-slim", description="for backend = docker")
    url: str | None = Field(None, description="for backend = remote: the server's address")
    allow_unsafe: bool = Field(False, description="let backend = unsafe run model text with next to no protection")
    options: dict[str, Any] = Field({}, description="settings that only the chosen backend has")
    wall_seconds: PositiveFloat = 5.0
    cpu_seconds: PositiveInt = 5
    memory_mb: PositiveInt = 256
    output_bytes: PositiveInt = 16384

    @property
    def choice(self) -> dict[str, Any]:
        """Arguments of `azr.sandbox.make_sandbox`."""
        return self.model_dump(include={"backend", "options", *factory.SHARED})

    @model_validator(mode="after")
    def _backend_can_be_made(self) -> Self:
        if self.backend == "remote" and self.url is None:
            raise ValueError("backend = remote needs url")
        factory.check_name(self.backend)
        if self.options:
            factory.check_options(self.backend, self.options)
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
