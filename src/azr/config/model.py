"""Which model, where it is, and how it is sampled."""

import re
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from azr.config.base import Section
from azr.config.tinker import TINKER, TinkerConfig


class Served(NamedTuple):
    """A model on a server: its name there, and the address of the server."""

    name: str
    url: str


def served(model: str) -> Served | None:
    """Split NAME@http://host:port/v1 into name and address; None if the model is loaded in this process.

    Raises:
        ValueError: the address is malformed, or holds a password or a key, which would end up in every log.
    """
    if (found := re.fullmatch(r"(.+)@(https?://.*)", model)) is None:
        return None
    address = urlsplit(found[2])
    if "@" in address.netloc or address.query or address.fragment:
        raise ValueError(
            "the address of a served model must not hold a password or ?key=value; see model.endpoint.key_env"
        )
    if not address.hostname or address.port == 0:  # reading the port raises unless it is a number
        raise ValueError("the name of a served model has the form NAME@http://host:port/v1")
    return Served(found[1], found[2].rstrip("/"))


class LoRAConfig(Section):
    """Low-rank adapters: train small matrices and freeze the weights (LoRA, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=0)] = Field(0, description="rank of each adapter; 0: no LoRA")
    alpha: PositiveFloat = Field(32.0, description="adapters are scaled by alpha / rank")
    targets: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="names of the layers with adapters; empty: all linear layers except the output layer"
    )


class EndpointConfig(Section):
    """Requests to a server with an OpenAI-compatible API, if model.name is NAME@http://host:port/v1."""

    key_env: str = Field("AZR_API_KEY", description="environment variable with the API key; unset: no key is sent")
    connections: PositiveInt = Field(16, description="concurrent requests, at most")
    attempts: PositiveInt = Field(6, description="how often a request is sent if the server is busy or restarting")
    timeout_seconds: PositiveFloat = Field(600.0, description="longest wait for one response")


class ModelConfig(Section):
    """Which model is used, and how it is loaded."""

    name: str = Field(
        description="folder, hub name, `nursery`, `nursery-primes` or `nursery-steps` for the small models that ship,"
        " NAME@http://host:port/v1 for a model on a server, or tinker:NAME for one that a Tinker service trains"
    )
    tokenizer: str | None = Field(
        None, description="for tinker:NAME: folder or hub name of the tokenizer; null: the one that the service names"
    )
    device: str = Field("auto", description="auto: CUDA if there is a GPU, else Apple MPS, else the CPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on CUDA, else float32"
    )
    attention: str | None = Field(None, description="transformers' attn_implementation; null: its default")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more time"
    )
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="freeze the weights in LLM.int8 or NF4 (extra `quant`); training then needs model.lora.rank > 0",
    )
    lora: LoRAConfig = Field(
        LoRAConfig(), description="with rank > 0, only adapters are trained; needs the extra `lora`"
    )
    trust_remote_code: bool = Field(
        False, description="run code that comes with the model; set it only if you trust the model"
    )
    endpoint: EndpointConfig = Field(
        EndpointConfig(), description="requests to a server; `key_env` names the environment variable with the API key"
    )
    tinker: TinkerConfig = TinkerConfig()

    @property
    def hosted(self) -> str | None:
        """The name that a Tinker service knows the model by; None if no such service trains it."""
        return self.name.removeprefix(TINKER) if self.name.startswith(TINKER) else None

    @property
    def served(self) -> Served | None:
        """Name and address of a model on a server; None if the model is loaded in this process."""
        return served(self.name)

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", device):
            raise ValueError("use auto, cpu, mps, cuda or cuda:N")
        return device

    @model_validator(mode="after")
    def _address_holds_no_secret(self) -> Self:
        if served(self.name) and self.hosted:
            raise ValueError(
                "the name of a model on a Tinker service has the form tinker:NAME; set the address in model.tinker.url"
            )
        return self


class GenerationConfig(Section):
    """How the model is sampled."""

    temperature: PositiveFloat = Field(1.0, description="for both roles, and for learnability")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="nucleus mass; must be 1 for training, which keeps every token"
    )
    max_prompt_tokens: PositiveInt = Field(
        6144, description="references are dropped from a longer prompt until it fits"
    )
    max_propose_tokens: PositiveInt = Field(8096, description="longest proposal, in tokens")
    max_solve_tokens: PositiveInt = Field(8096, description="longest attempt, in tokens")
    max_rows: PositiveInt = Field(256, description="sequences decoded at once, at most (on each GPU)")
    overlap: bool | None = Field(
        None,
        description="admit new rows while others decode; null: only off the CPU, where false makes runs reproducible",
    )
    urls: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="addresses of vLLM servers that sample instead of this process (`azr serve` starts one); on the"
        " command line `generation.urls=http://a:8000,http://b:8000`",
    )
    sync: Literal["disk", "nccl"] = Field(
        "disk", description="how servers get new weights: through a folder that they can read, or broadcast by NCCL"
    )
    weights_folder: str | None = Field(
        None,
        description="for sync = disk: where weights are written, at the same path on the servers' machines; null: a"
        " temporary folder, for servers on this machine",
    )
    max_staleness: Annotated[int, Field(ge=0)] = Field(
        0,
        description="updates that a sample may miss, at most; above 0, the next steps begin while the learner works",
    )
    probe_tolerance: PositiveFloat | None = Field(
        None,
        description="largest mean difference (nats) between a server's log-probabilities and the learner's after new"
        " weights were sent; null: 0.001 in float32, 0.05 in 16 bits, 0.1 on a Tinker service",
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _addresses_in_a_row(cls, value: Any) -> Any:
        return [url.strip().rstrip("/") for url in value.split(",") if url.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _addresses_of_servers(self) -> Self:  # not a field validator, whose message would show a password
        for url in self.urls:
            address = urlsplit(url)
            if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
                raise ValueError("each address in urls has the form http://host:port")
            if address.path.strip("/") or "@" in address.netloc or address.query or address.fragment:
                raise ValueError("an address in urls is http://host:port alone: no route, no password, no ?key=value")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("each server may be listed in urls only once")
        return self

    @model_validator(mode="after")
    def _servers_report_what_they_sample_from(self) -> Self:
        if self.urls and self.top_p < 1 and self.temperature != 1:
            raise ValueError(
                f"vLLM has no log-probabilities at temperature {self.temperature} before the cut of top_p ="
                f" {self.top_p}; set generation.top_p=1 or generation.temperature=1"
            )
        return self
