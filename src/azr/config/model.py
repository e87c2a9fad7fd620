"""Which model, where it is, and how it is sampled."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from azr.config.base import Section


class Served(NamedTuple):
    """A model that a server has: the name that it goes by there, and the server's address."""

    name: str
    url: str


def served(model: str) -> Served | None:
    """Read a model's name; None for a model that is loaded here.

    Raises:
        ValueError: the address is none, or brings a password or a key along, which would end up in every log.
    """
    if (found := re.fullmatch(r"(.+)@(https?://.*)", model)) is None:
        return None
    address = urlsplit(found[2])
    if "@" in address.netloc or address.query or address.fragment:
        raise ValueError("a served model's address takes no password and no ?key=value; see model.endpoint.key_env")
    if not address.hostname or address.port == 0:  # reading the port raises where it is no number
        raise ValueError("a served model is named NAME@http://host:port/v1")
    return Served(found[1], found[2].rstrip("/"))


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
