"""What surrounds a run: the sandbox, evaluation, checkpoints, events and trackers."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from azr.config.base import Section
from azr.sandbox import factory


class SandboxConfig(Section):
    """Where the model's programs run, and with which limits."""

    backend: str = Field(
        "auto",
        description="local, seatbelt, docker, remote, unsafe or the name of a plug-in; auto: local on Linux, seatbelt"
        " on macOS",
    )
    tier: Literal["auto", "full", "seccomp"] = Field("auto", description="weakest protection accepted from `local`")
    workers: PositiveInt | None = Field(
        None,
        description="processes that run programs at once; null: one per core. For backend = remote: jobs that each"
        " server gets at once; null: as many as it takes",
    )
    image: str = Field("python:3.12-slim", description="Docker image for backend = docker")
    url: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="addresses of the servers for backend = remote (`azr sandbox serve` starts one); on the command"
        " line `sandbox.url=http://a:8090,http://b:8090`",
    )
    allow_unsafe: bool = Field(
        False, description="allow backend = unsafe, which runs the model's programs almost unprotected"
    )
    options: dict[str, Any] = Field({}, description="settings that only the chosen backend has")
    wall_seconds: PositiveFloat = 5.0
    cpu_seconds: PositiveInt = 5
    memory_mb: PositiveInt = 256
    output_bytes: PositiveInt = 16384

    @property
    def choice(self) -> dict[str, Any]:
        """Arguments of `azr.sandbox.make_sandbox`."""
        return self.model_dump(include={"backend", "options", *factory.SHARED})

    @field_validator("url", mode="before")
    @classmethod
    def _addresses_in_a_row(cls, value: Any) -> Any:
        return [url.strip().rstrip("/") for url in value.split(",") if url.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _addresses_of_servers(self) -> Self:  # not a field validator, whose message would show a password
        for url in self.url:
            address = urlsplit(url)
            if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
                raise ValueError("each address in url has the form http://host:port")
            if "@" in address.netloc or address.query or address.fragment:
                raise ValueError("an address in url must not hold a password or ?key=value; set AZR_SANDBOX_TOKEN")
        if len(set(self.url)) != len(self.url):
            raise ValueError("each address in url may be listed only once")
        return self

    @model_validator(mode="after")
    def _backend_can_be_made(self) -> Self:
        if self.backend == "remote" and not self.url:
            raise ValueError("backend = remote needs url")
        factory.check_name(self.backend)
        if self.options:
            factory.check_options(self.backend, self.options)
        return self


class EvaluationConfig(Section):
    """Held-out accuracy during training."""

    every: Annotated[int, Field(ge=0)] = Field(
        0, description="steps between evaluations; 0: only before and after training"
    )
    tasks: Annotated[int, Field(ge=0)] = Field(100, description="held-out tasks per kind; 0: no evaluation")


class CheckpointConfig(Section):
    """Checkpoints, from which a run can be resumed."""

    every: PositiveInt = Field(10, description="steps between checkpoints")
    keep: PositiveInt = Field(2, description="number of newest checkpoints to keep")


class EventsConfig(Section):
    """Optional events; all others are always written."""

    tokens_every: Annotated[int, Field(ge=0)] = Field(
        1, description="steps between records of all tokens, 14 bytes each, for `azr explain`; 0: never"
    )


class TrackersConfig(Section):
    """Trackers that receive metrics, besides the run's own files. Each needs the extra of its name."""

    use: Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], Field(strict=False)] = Field(
        (), description="any of `tensorboard`, `wandb` and `trackio`; on the command line `trackers.use=wandb,trackio`"
    )
    project: str = Field("azr", description="project name in Weights & Biases and Trackio")
    name: str | None = Field(None, description="name of the run in the tracker; null: the name of its folder")
    wandb_mode: Literal["online", "offline"] | None = Field(
        None, description="offline: store in RUN/wandb for `wandb sync`; null: as WANDB_MODE says, else online"
    )

    @field_validator("use", mode="before")
    @classmethod
    def _names_in_a_row(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("use")
    @classmethod
    def _each_once(cls, use: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(use)) != len(use):
            raise ValueError("each tracker may be listed only once")
        return use
