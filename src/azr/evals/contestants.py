"""What `azr eval` compares: models, the benchmark's own answers, and broken answers that must score nothing.

A model is named by its hub name, its folder, its run's folder, as a shipped model, or as NAME@URL on a server.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from azr.config import GenerationConfig, ModelConfig, served
from azr.errors import UserError
from azr.evals.answerers import Answerer, ModelAnswerer, broken_answerer, gold_answerer
from azr.evals.harness import Settings
from azr.evals.templates import Template
from azr.evals.variants import VARIANTS
from azr.models import shipped
from azr.models.threads import threads
from azr.run.directory import CONFIG, MODEL, RunDirectory


@dataclass(frozen=True, slots=True)
class Contestant:
    """A column of the table."""

    title: str  # heading of the column
    kind: Literal["model", "gold", "broken"]  # who writes the answers
    source: str  # the model's folder or hub name, or the variant's name

    @property
    def identity(self) -> str:
        """Identifies it in the header of its completions; changes with a model's files."""
        return identity_of(self.source) if self.kind == "model" else f"{self.kind}:{self.source}"

    @property
    def folder(self) -> str:
        """Name of the folder of its completions."""
        return re.sub(r"[^\w.-]+", "_", self.title if self.kind == "model" else f"{self.kind}-{self.source}").strip("_")


def contestants(names: Sequence[str], *, gold: bool, broken: Sequence[str]) -> list[Contestant]:
    """The contestants of a request.

    Raises:
        UserError: there are none, two have the same name, or a model or variant does not exist.
    """
    found = [Contestant(name, "model", locate(name)) for name in names]
    if gold:
        found.append(Contestant("gold", "gold", "gold"))
    for name in VARIANTS if "all" in broken else broken:
        if name not in VARIANTS:
            raise UserError(f"--broken {name}: no such variant; there are all, {', '.join(VARIANTS)}")
        found.append(Contestant(name, "broken", name))
    if not found:
        raise UserError("azr eval takes at least one model, or --gold, or --broken NAME")
    if len({contestant.folder for contestant in found}) < len(found):
        raise UserError("two models have the same name; name each model once, or by paths that differ")
    return found


@asynccontextmanager
async def answering(
    contestant: Contestant, template: Template, config: ModelConfig, settings: Settings
) -> AsyncIterator[tuple[Answerer, Template]]:
    """The contestant's answerer, and the template with the model's chat template; a model is freed afterwards.

    Raises:
        UserError: the model cannot be loaded, or its server does not answer.
    """
    if contestant.kind == "gold":
        yield gold_answerer(template), template
    elif contestant.kind == "broken":
        yield broken_answerer(template, VARIANTS[contestant.source]), template
    elif is_served(contestant.source):
        from azr.rollout.endpoint import EndpointGenerator

        model = config.model_copy(update={"name": contestant.source})
        async with EndpointGenerator(model, chat=settings.template == "chat", seed=settings.seed) as generator:
            # The server applies its chat template.
            yield ModelAnswerer(generator, settings.sampling, generator.render), template
    else:
        answerer, chat = open_model(contestant.source, config, settings)
        yield answerer, replace(template, chat=chat)


def locate(name: str) -> str:
    """Where a model is loaded from: a folder or a hub name; the name of a served model is returned unchanged.

    Raises:
        UserError: it is a run without a model.
    """
    if is_served(name):
        return name
    path = Path(name)
    if not (path / CONFIG).is_file():
        return shipped.resolve(name)
    if not (path / MODEL / "config.json").is_file():
        raise UserError(
            f"{name}: this run has no {MODEL}/ yet; finish it with azr train --resume {name}, or export its newest"
            f" checkpoint with azr export {name}"
        )
    return str(path / MODEL)


def is_served(name: str) -> bool:
    """Whether the model is on a server.

    Raises:
        UserError: the address in its name is invalid, or contains a key.
    """
    try:
        return served(name) is not None
    except ValueError as error:
        raise UserError(str(error)) from None


def played(names: Sequence[str], domain: str) -> dict[str, Any]:
    """The domain settings of the first run among the models that played this domain; empty if there is none."""
    for name in names:
        if not is_served(name) and (Path(name) / CONFIG).is_file():
            section: dict[str, Any] = RunDirectory.open(Path(name)).tree().get("domain", {})
            if section.get("name") == domain:
                return section
    return {}


def identity_of(source: str) -> str:
    """Identifies a model with its weights: for a folder, it changes with the files."""
    path = Path(source)
    if not path.is_dir():
        return source
    files = sorted(file for file in path.iterdir() if file.is_file())
    words = "".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}\n" for file in files)
    return f"{path.resolve()}@{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def open_model(source: str, config: ModelConfig, settings: Settings) -> tuple[ModelAnswerer, Callable[[str], str]]:
    """Load a model as an answerer; also returns the function that applies its chat template to a message.

    Raises:
        UserError: the model cannot be loaded.
    """
    import torch

    from azr.models.load import load_model
    from azr.rollout.local.generator import LocalGenerator

    policy = load_model(config.model_copy(update={"name": source}))
    if settings.template == "chat" and policy.tokenizer.chat_template is None:
        raise UserError(f"--template chat: model {source} has no chat template; use --template complete or r1")
    torch.set_num_threads(threads(policy.model.num_parameters()))
    context = policy.context_length or 2**17
    # The generator's own temperature is not used here: each call of `sample` passes its own.
    generator = LocalGenerator(policy, GenerationConfig(max_prompt_tokens=context), seed=settings.seed)
    return ModelAnswerer(generator, settings.sampling, policy.renderer(chat=False), context), policy.chat
